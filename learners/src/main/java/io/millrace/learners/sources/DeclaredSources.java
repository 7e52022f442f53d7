package io.millrace.learners.sources;

import io.millrace.config.ConfigException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * What {@code knowledge-sources.yaml} declares, as it was when it could last be read whole. One with errors, and one that is missing
 * where there were sources, changes nothing: to remove a source takes its documents along, and a mistake must not.
 */
final class DeclaredSources {
    private final Path file;
    private final List<String> collections;

    private Map<String, SourceDefinition> sources = Map.of();
    /** Time and size of the file that the sources are from; empty until one could be read. */
    private String stamp = "";

    private String error = "";

    /** @param collections the configured ones */
    DeclaredSources(Path file, List<String> collections) {
        this.file = file;
        this.collections = List.copyOf(collections);
    }

    /**
     * Reads the file when it is not what was read last.
     *
     * @param any whether there are sources, of this process or of an earlier one
     * @return whether it was read
     */
    boolean look(boolean any) {
        try {
            String now =
                    Files.exists(file) ? Files.getLastModifiedTime(file).toMillis() + ":" + Files.size(file) : "none";
            if (now.equals("none") && any) {
                error = file + ": is missing, and its sources stay: put it back, or " + SourcesFile.TO_HAVE_NONE;
                return false;
            }
            if (now.equals(stamp)) {
                // it was wrong in between, and is what it was
                error = "";
                return false;
            }
            Map<String, SourceDefinition> read = new TreeMap<>();
            SourcesFile.read(file, collections).forEach(source -> read.put(source.id(), source));
            sources = read;
            stamp = now;
            error = "";
            return true;
        } catch (ConfigException e) {
            error = String.join("\n", e.errors());
        } catch (IOException e) {
            error = file + ": cannot be read: " + e.getMessage();
        }
        return false;
    }

    /** By id. */
    Map<String, SourceDefinition> sources() {
        return sources;
    }

    /** Those of the sources there are that are declared no more; none until it is known what is declared. */
    Set<String> removed(Set<String> there) {
        Set<String> removed = new HashSet<>(stamp.isEmpty() ? Set.of() : there);
        removed.removeAll(sources.keySet());
        return removed;
    }

    /** What is wrong with the file, a line each, or empty. */
    String error() {
        return error;
    }

    Path file() {
        return file;
    }
}
