package io.millrace.standalone;

import io.millrace.standalone.parts.DataFolder;
import java.nio.file.Path;

/** Keeps this process inside its data folder: what libraries unpack, what we log. */
final class Confinement {
    private Confinement() {}

    /**
     * Call it before the first logger and before the first temporary file: both read their properties once.
     *
     * @param name names the log file, {@code logs/<name>.log}
     */
    static void to(DataFolder data, String name) {
        to(data.folder("tmp"), data.folder("cache"), data.folder("logs").resolve(name + ".log"));
    }

    static void to(Path temporary, Path cache, Path log) {
        System.setProperty("java.io.tmpdir", temporary.toString());
        // the tokenizer's native library; ~/.djl.ai without this
        System.setProperty("DJL_CACHE_DIR", cache.toString());
        System.setProperty("millrace.log", log.toString());
        System.setProperty("log4j2.configurationFile", "log4j2-instance.xml");
    }
}
