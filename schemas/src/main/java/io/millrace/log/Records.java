package io.millrace.log;

import org.apache.avro.util.ClassSecurityValidator;

/** Our generated records. */
public final class Records {
    private static final String PACKAGE = "io.millrace.schema";

    /** A length in garbage may claim gigabytes, and Avro would allocate them: nothing on the log is longer than this. */
    private static final String MAX_BYTES = String.valueOf(64 * 1024 * 1024);

    private static final String MAX_ITEMS = "1000000";

    static {
        System.setProperty("org.apache.avro.limits.string.maxLength", MAX_BYTES);
        System.setProperty("org.apache.avro.limits.bytes.maxLength", MAX_BYTES);
        System.setProperty("org.apache.avro.limits.collectionItems.maxLength", MAX_ITEMS);
    }

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
