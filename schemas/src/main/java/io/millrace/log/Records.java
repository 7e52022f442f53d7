package io.millrace.log;

import org.apache.avro.util.ClassSecurityValidator;

/** Our generated records. */
public final class Records {
    private static final String PACKAGE = "io.millrace.schema";

    private Records() {}

    /**
     * Lets Avro make our records: 1.12.2 refuses classes that nobody vouched for. Needed once per process, before the first reader or
     * writer is made; {@link Codecs} calls it, and so does whoever reads records without codecs.
     */
    public static void trust() {
        ClassSecurityValidator.setGlobal(ClassSecurityValidator.composite(
                ClassSecurityValidator.DEFAULT, type -> type.getPackageName().equals(PACKAGE)));
    }
}
