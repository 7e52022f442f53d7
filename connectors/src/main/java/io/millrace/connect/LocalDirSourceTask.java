package io.millrace.connect;

import io.millrace.connect.Contents.NotADocumentException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.FileSystemLoopException;
import java.nio.file.FileVisitOption;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.apache.kafka.connect.storage.OffsetStorageReader;

/**
 * Reads a folder, and again whenever a file's size or time changed. It looks instead of being told: notifications are per folder,
 * overflow, and say nothing on network file systems, while looking at 10,000 files takes some 50 ms.
 *
 * <p>Symbolic links are followed as long as they stay in the folder and make no loop.
 */
public final class LocalDirSourceTask extends KnowledgeTask {
    /** Stamp by path of what was sent; kept between scans, since the stored offsets are flushed behind. */
    private final Map<String, String> sent = new HashMap<>();

    /** What was read and is no document, so that it is not read again. */
    private final Map<String, Refused> refused = new HashMap<>();

    private boolean remembered;
    private boolean told;

    /** A file that was seen. */
    private record Seen(String stamp, long modifiedAt) {}

    /** A file that is no document, as long as it has this stamp. */
    private record Refused(String stamp, String reason) {}

    @Override
    Scan scan(SourceSettings settings, OffsetStorageReader offsets) throws Scan.ScanException {
        Path root = Path.of(settings.location());
        if (!Files.isDirectory(root)) {
            throw new Scan.ScanException("there is no folder " + root);
        }
        Pass pass = new Pass(settings, root);
        pass.walk();
        if (!remembered) {
            remember(settings, offsets, pass.seen.keySet());
            remembered = true;
        }
        pass.begin();
        return pass;
    }

    private void remember(SourceSettings settings, OffsetStorageReader offsets, Iterable<String> paths) {
        List<Map<String, Object>> partitions = new ArrayList<>();
        paths.forEach(path -> partitions.add(partition(settings, path)));
        offsets.offsets(partitions).forEach((partition, offset) -> {
            if (offset != null && offset.get("stamp") instanceof String stamp) {
                sent.put(String.valueOf(partition.get("path")), stamp);
            }
        });
    }

    private final class Pass implements Scan {
        private final SourceSettings settings;
        private final Path root;
        private final Map<String, Seen> seen = new TreeMap<>();
        private final List<Step> skips = new ArrayList<>();
        /** What could not be looked at: what an error hides is not gone. */
        private final List<Path> hidden = new ArrayList<>();

        private Iterator<Map.Entry<String, Seen>> files =
                Map.<String, Seen>of().entrySet().iterator();
        private Iterator<String> gone = List.<String>of().iterator();

        Pass(SourceSettings settings, Path root) {
            this.settings = settings;
            this.root = root;
        }

        void walk() throws ScanException {
            try {
                Path real = root.toRealPath();
                Files.walkFileTree(root, EnumSet.of(FileVisitOption.FOLLOW_LINKS), 64, new SimpleFileVisitor<>() {
                    @Override
                    public FileVisitResult preVisitDirectory(Path folder, BasicFileAttributes attributes)
                            throws IOException {
                        if (!folder.equals(root)) {
                            String path = relative(folder);
                            if (settings.patterns().skipFolder(path)) {
                                return FileVisitResult.SKIP_SUBTREE;
                            }
                            if (leaves(folder, real)) {
                                skips.add(new Step.Skipped(path, "a link that leaves the folder"));
                                return FileVisitResult.SKIP_SUBTREE;
                            }
                        }
                        return FileVisitResult.CONTINUE;
                    }

                    @Override
                    public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                        String path = relative(file);
                        if (!settings.patterns().take(path)) {
                            return FileVisitResult.CONTINUE;
                        }
                        if (attributes.isSymbolicLink()) {
                            // links are followed: one that still is one leads nowhere
                            skips.add(new Step.Skipped(path, "a link to nothing"));
                        } else if (leaves(file, real)) {
                            skips.add(new Step.Skipped(path, "a link that leaves the folder"));
                        } else if (!attributes.isRegularFile()) {
                            skips.add(new Step.Skipped(path, "no regular file"));
                        } else if (attributes.size() > settings.maxBytes()) {
                            skips.add(new Step.Skipped(
                                    path,
                                    attributes.size() + " bytes, more than the " + settings.maxBytes()
                                            + " of max_bytes"));
                        } else if (seen.size() >= settings.maxDocuments()) {
                            skips.add(new Step.Skipped(path, "more than " + settings.maxDocuments() + " documents"));
                            return FileVisitResult.TERMINATE;
                        } else {
                            long modified = attributes.lastModifiedTime().toMillis();
                            String stamp = modified + ":" + attributes.size() + ":" + settings.definition();
                            seen.put(path, new Seen(stamp, modified));
                        }
                        return FileVisitResult.CONTINUE;
                    }

                    @Override
                    public FileVisitResult visitFileFailed(Path file, IOException error) {
                        if (error instanceof FileSystemLoopException) {
                            skips.add(new Step.Skipped(relative(file), "a loop of links"));
                        } else {
                            hidden.add(file);
                            skips.add(new Step.Skipped(relative(file), "not readable: " + error));
                        }
                        return FileVisitResult.CONTINUE;
                    }
                });
            } catch (IOException e) {
                throw new ScanException(root + " cannot be read: " + e, e);
            }
        }

        private String relative(Path file) {
            return root.relativize(file).toString().replace('\\', '/');
        }

        private boolean leaves(Path file, Path real) throws IOException {
            return Files.isSymbolicLink(file) && !file.toRealPath().startsWith(real);
        }

        void begin() {
            files = seen.entrySet().iterator();
            gone = sent.keySet().stream()
                    .filter(path -> !seen.containsKey(path) && !isHidden(root.resolve(path)))
                    .toList()
                    .iterator();
        }

        private boolean isHidden(Path file) {
            return hidden.stream().anyMatch(file::startsWith);
        }

        @Override
        public Optional<Step> next() {
            if (!skips.isEmpty()) {
                return Optional.of(skips.removeLast());
            }
            while (files.hasNext()) {
                Map.Entry<String, Seen> file = files.next();
                if (!file.getValue().stamp().equals(sent.get(file.getKey()))) {
                    return Optional.of(read(file.getKey(), file.getValue()));
                }
            }
            if (gone.hasNext()) {
                String path = gone.next();
                sent.remove(path);
                return Optional.of(gone(path));
            }
            return Optional.empty();
        }

        private Step read(String path, Seen file) {
            Refused before = refused.get(path);
            if (before != null && before.stamp().equals(file.stamp())) {
                return new Step.Skipped(path, before.reason());
            }
            refused.remove(path);
            try (InputStream in = Files.newInputStream(root.resolve(path))) {
                // not all of it: it may have grown since, and what a kernel makes up has no size
                byte[] bytes = in.readNBytes(settings.maxBytes() + 1);
                if (bytes.length > settings.maxBytes()) {
                    return refuse(path, file, "more than the " + settings.maxBytes() + " bytes of max_bytes");
                }
                Map<String, Object> document = Scan.document(settings, path);
                document.put("modified_at", file.modifiedAt());
                Contents.of(path, bytes, document);
                sent.put(path, file.stamp());
                return new Step.Found(path, document, partition(settings, path), Map.of("stamp", file.stamp()));
            } catch (NotADocumentException e) {
                return refuse(path, file, String.valueOf(e.getMessage()));
            } catch (IOException e) {
                return new Step.Skipped(path, "not readable: " + e.getMessage());
            }
        }

        /** No document, or none any more. */
        private Step refuse(String path, Seen file, String reason) {
            refused.put(path, new Refused(file.stamp(), reason));
            Step skipped = new Step.Skipped(path, reason);
            if (sent.remove(path) == null) {
                return skipped;
            }
            skips.add(skipped);
            return gone(path);
        }

        private Step gone(String path) {
            return new Step.Gone(path, partition(settings, path), Map.of("stamp", "gone"));
        }

        @Override
        public int found() {
            return seen.size();
        }

        /** Only the first pass after a start has to tell: what goes away later is noticed. */
        @Override
        public Optional<Iterable<String>> everything() {
            if (told || !hidden.isEmpty()) {
                return Optional.empty();
            }
            return Optional.of(seen.keySet().stream()
                    .filter(path -> !refused.containsKey(path))
                    .toList());
        }

        @Override
        public Map<String, Object> mark() {
            // here, for a pass whose list is too long to be sent did not tell
            told |= hidden.isEmpty();
            return Map.of("definition", settings.definition());
        }
    }
}
