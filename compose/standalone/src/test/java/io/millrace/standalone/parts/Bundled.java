package io.millrace.standalone.parts;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;

/** The bundled servers on a machine that cannot run them, as with an old glibc or on NixOS. */
public final class Bundled {
    private Bundled() {}

    /** Puts something that fails where Redis would be unpacked below a data folder. */
    public static void breakRedis(Path data) throws IOException {
        failing(data.resolve("bin").resolve(RedisPart.resource().substring(1)));
    }

    /** Puts something that fails where PostgreSQL would be unpacked below a data folder. */
    public static void breakPostgres(Path data) throws IOException {
        failing(data.resolve("bin/postgresql-" + PostgresPart.VERSION + "/bin/postgres"));
    }

    private static void failing(Path binary) throws IOException {
        Files.createDirectories(binary.resolveSibling("."));
        Files.writeString(binary, "#!/bin/sh\nexit 127\n");
        Files.setPosixFilePermissions(binary, PosixFilePermissions.fromString("rwxr-xr-x"));
    }

    /** Installs both below a folder, with {@code redis-server} and {@code postgres} in it, to be put on the PATH. */
    public static void install(Path folder) throws IOException {
        DataFolder.extract(RedisPart.resource(), folder.resolve("redis-server"));
        try (DataFolder machine = DataFolder.open(folder.resolve("machine"), 1L << 20)) {
            Path home = machine.root().resolve("postgresql");
            new PostgresPart(machine, 1, remark -> {}).unpack(PostgresPart.resource(), home);
            // as a distribution does it: a link on the PATH, and initdb beside what it leads to
            Files.createSymbolicLink(folder.resolve("postgres"), home.resolve("bin/postgres"));
        }
    }
}
