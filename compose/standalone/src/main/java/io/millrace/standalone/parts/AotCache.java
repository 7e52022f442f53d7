package io.millrace.standalone.parts;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * The JVM's ahead-of-time caches: loaded and linked classes in a file, worth a second or two of each start. The launcher has them
 * made once per build, in a folder beside the jars, by a training run. A JVM does not see that a jar changed which the one it was given names: a
 * cache is of use with its own build only, and would run the classes of that.
 */
public final class AotCache {
    /** The folder of the caches; none when it is not set. */
    public static final String FOLDER_PROPERTY = "millrace.aot";

    /** {@code true} in a training run: caches are written at exit instead of read. */
    public static final String TRAIN_PROPERTY = "millrace.aot.train";

    static final String REGISTRY = "registry.aot";

    private AotCache() {}

    /** Seconds that a JVM may take to exit: writing a cache takes ten, and more on a busy machine. */
    static int patience() {
        return Boolean.getBoolean(TRAIN_PROPERTY) ? 90 : Child.PATIENCE_SECONDS;
    }

    /** JVM flags of a child that uses, or trains, this cache. */
    static List<String> flags(String name) {
        String folder = System.getProperty(FOLDER_PROPERTY, "");
        if (folder.isEmpty()) {
            return List.of();
        }
        Path cache = Path.of(folder, name);
        if (Boolean.getBoolean(TRAIN_PROPERTY)) {
            return List.of("-XX:AOTCacheOutput=" + cache);
        }
        return Files.exists(cache) ? List.of("-XX:AOTCache=" + cache) : List.of();
    }
}
