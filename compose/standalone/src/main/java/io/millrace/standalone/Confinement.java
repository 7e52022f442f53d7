package io.millrace.standalone;

import io.millrace.knowledge.Unpacked;
import io.millrace.standalone.parts.DataFolder;
import java.util.logging.Level;
import java.util.logging.Logger;

/** Keeps this process inside its data folder: what libraries unpack, what we log. */
final class Confinement {
    /** Held, because a logger that nobody holds forgets its level. Lucene recommends a module that costs more than it gives here. */
    private static final Logger LUCENE = Logger.getLogger("org.apache.lucene");

    private Confinement() {}

    /** Call it before the first logger and before the first temporary file: both read their properties once. */
    static void to(DataFolder data) {
        LUCENE.setLevel(Level.SEVERE);
        System.setProperty("java.io.tmpdir", data.folder("tmp").toString());
        // the tokenizer's native library; ~/.djl.ai without this
        System.setProperty("DJL_CACHE_DIR", data.folder("cache").toString());
        if (System.getProperty(Unpacked.FOLDER_PROPERTY) == null) {
            System.setProperty(Unpacked.FOLDER_PROPERTY, data.folder("cache").toString());
        }
        String log = data.folder("logs").resolve("millrace.log").toString();
        System.setProperty("millrace.log", log);
        // a pattern, as the name of the rolled ones is one
        System.setProperty("millrace.log.pattern", log.replace("%", "%%"));
        if (System.getProperty("log4j2.configurationFile") == null) {
            System.setProperty("log4j2.configurationFile", "log4j2-instance.xml");
        }
    }
}
