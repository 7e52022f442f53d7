package io.millrace.connect;

import java.nio.file.FileSystems;
import java.nio.file.Path;
import java.nio.file.PathMatcher;
import java.util.List;
import java.util.stream.Stream;

/**
 * Which paths of a source are taken. Globs as in {@code .gitignore}'s habit: {@code **}{@code /*.md} is also at the top. Hidden files
 * and folders are taken only when a pattern names them by their dot.
 */
final class Patterns {
    private final List<PathMatcher> fetch;
    private final List<PathMatcher> exclude;
    private final boolean hidden;

    Patterns(List<String> fetch, List<String> exclude) {
        this.fetch = matchers(fetch);
        this.exclude = matchers(exclude);
        this.hidden = fetch.stream().anyMatch(glob -> glob.startsWith(".") || glob.contains("/."));
    }

    private static List<PathMatcher> matchers(List<String> globs) {
        return globs.stream()
                .filter(glob -> !glob.isBlank())
                .flatMap(glob -> glob.startsWith("**/") ? Stream.of(glob, glob.substring(3)) : Stream.of(glob))
                .map(glob -> FileSystems.getDefault().getPathMatcher("glob:" + glob))
                .toList();
    }

    /** @param path relative, with slashes */
    boolean take(String path) {
        if (path.indexOf('\0') >= 0) {
            // a link may lead anywhere, and a matcher takes no such path
            return false;
        }
        Path file = Path.of(path);
        return (hidden || !isHidden(file))
                && (fetch.isEmpty() || fetch.stream().anyMatch(glob -> glob.matches(file)))
                && exclude.stream().noneMatch(glob -> glob.matches(file));
    }

    /** Whether a folder may be left out with all that is below it. */
    boolean skipFolder(String path) {
        Path folder = Path.of(path);
        return (!hidden && isHidden(folder)) || exclude.stream().anyMatch(glob -> glob.matches(folder));
    }

    private static boolean isHidden(Path path) {
        for (Path name : path) {
            if (name.toString().startsWith(".")) {
                return true;
            }
        }
        return false;
    }
}
