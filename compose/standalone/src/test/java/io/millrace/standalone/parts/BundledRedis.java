package io.millrace.standalone.parts;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;

/** The bundled Redis on a machine that cannot run it, as with an old glibc or on NixOS. */
public final class BundledRedis {
    private BundledRedis() {}

    /** Puts something that fails where it would be unpacked below a data folder. */
    public static void breakBelow(Path data) throws IOException {
        Path bin = Files.createDirectories(data.resolve("bin"));
        Path binary = Files.writeString(bin.resolve(RedisPart.resource().substring(1)), "#!/bin/sh\nexit 127\n");
        Files.setPosixFilePermissions(binary, PosixFilePermissions.fromString("rwx------"));
    }

    /** Installs it as {@code redis-server} in a folder that can be put on the PATH. */
    public static Path install(Path folder) throws IOException {
        Path installed = folder.resolve("redis-server");
        DataFolder.extract(RedisPart.resource(), installed);
        return installed;
    }
}
