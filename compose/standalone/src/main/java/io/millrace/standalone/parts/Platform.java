package io.millrace.standalone.parts;

import java.util.Locale;

/** The platforms that binaries are bundled for. */
enum Platform {
    LINUX_X64,
    LINUX_ARM64,
    DARWIN_ARM64,
    OTHER;

    static Platform current() {
        String system = System.getProperty("os.name").toLowerCase(Locale.ROOT);
        boolean arm = System.getProperty("os.arch").equals("aarch64");
        boolean intel = System.getProperty("os.arch").equals("amd64");
        if (system.contains("linux")) {
            return arm ? LINUX_ARM64 : intel ? LINUX_X64 : OTHER;
        }
        return system.contains("mac") && arm ? DARWIN_ARM64 : OTHER;
    }
}
