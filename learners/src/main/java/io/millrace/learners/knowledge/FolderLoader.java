package io.millrace.learners.knowledge;

import io.millrace.learners.extract.Extractor;
import io.millrace.log.Log;
import io.millrace.log.Topics;
import io.millrace.schema.Document;
import io.millrace.schema.Envelope;
import io.millrace.schema.RawDocument;
import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Reads the Markdown and text files of a folder into the log. */
public final class FolderLoader {
    private static final Logger LOG = LoggerFactory.getLogger(FolderLoader.class);
    private static final Set<String> ENDINGS = Set.of("md", "markdown", "txt", "rst", "org");

    /** A larger file is no text that somebody wrote; and none that is taken has more characters than a document may have. */
    private static final long MAX_BYTES = Extractor.MAX_CHARS;

    /** Of the files of other types, of which there may be any number, so many are named in the log. */
    private static final int NAMED = 10;

    private final Log log;

    public FolderLoader(Log log) {
        this.log = log;
    }

    /** A document on its way: it is searchable when the index has it with this checksum. */
    public record Loaded(String documentId, String checksum, String path) {}

    /** Why a file is no document. */
    public enum Reason {
        TOO_LARGE("too large"),
        NOT_TEXT("not text"),
        EMPTY("empty"),
        UNREADABLE("unreadable"),
        OTHER_TYPE("of another type");

        private final String words;

        Reason(String words) {
            this.words = words;
        }

        /** As people are told of it. */
        public String words() {
            return words;
        }
    }

    /**
     * What became of a folder's files.
     *
     * @param leftOut how many for which reason, in the order of reasons; hidden files of another type are not counted
     */
    public record Outcome(List<Loaded> loaded, Map<Reason, Integer> leftOut) {
        public Outcome {
            loaded = List.copyOf(loaded);
            leftOut = Collections.unmodifiableMap(new EnumMap<>(leftOut));
        }
    }

    /**
     * Sends a folder's files to the log and waits until they are there.
     *
     * @param name source name; paths are relative to the folder, so the same folder elsewhere is the same source
     * @throws IOException when the folder cannot be read; a single bad file or folder in it is logged, counted and left out
     */
    public Outcome load(Path folder, String name, String collection) throws IOException {
        Map<Reason, Integer> leftOut = new EnumMap<>(Reason.class);
        List<Path> files = texts(folder, leftOut);
        String source = "folder:" + name;
        List<Loaded> loaded = new ArrayList<>();
        List<CompletableFuture<?>> sent = new ArrayList<>();
        for (Path file : files) {
            String path = folder.relativize(file).toString().replace('\\', '/');
            try {
                if (Files.size(file) > MAX_BYTES) {
                    LOG.warn("{} is larger than {} bytes and left out", file, MAX_BYTES);
                    leftOut.merge(Reason.TOO_LARGE, 1, Integer::sum);
                    continue;
                }
                RawDocument raw = RawDocument.newBuilder()
                        .setEnvelope(Envelope.newBuilder()
                                .setOccurredAt(System.currentTimeMillis())
                                .build())
                        .setSource(source)
                        .setPath(path)
                        .setCollection(collection)
                        .setContent(Files.readString(file, StandardCharsets.UTF_8))
                        .setContentType(path.endsWith(".md") ? "text/markdown" : "text/plain")
                        .setModifiedAt(Files.getLastModifiedTime(file).toMillis())
                        .build();
                Document document = Normalizer.ofText(raw);
                sent.add(log.producer().send(Topics.RAW_API, source + "/" + path, raw));
                loaded.add(new Loaded(document.getDocumentId(), document.getChecksum(), path));
            } catch (Extractor.UnreadableException e) {
                LOG.info("{} is left out: {}", file, e.getMessage());
                leftOut.merge(Reason.EMPTY, 1, Integer::sum);
            } catch (CharacterCodingException e) {
                LOG.warn("{} is no UTF-8 text and left out", file);
                leftOut.merge(Reason.NOT_TEXT, 1, Integer::sum);
            } catch (IOException e) {
                LOG.warn("{} cannot be read and is left out: {}", file, e.toString());
                leftOut.merge(Reason.UNREADABLE, 1, Integer::sum);
            }
        }
        sent.forEach(CompletableFuture::join);
        return new Outcome(loaded, leftOut);
    }

    private static List<Path> texts(Path folder, Map<Reason, Integer> leftOut) throws IOException {
        List<Path> files = new ArrayList<>();
        List<Path> others = new ArrayList<>();
        Files.walkFileTree(folder, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) {
                if (isText(file) && Files.isRegularFile(file)) {
                    files.add(file);
                } else if (!isHidden(folder.relativize(file))) {
                    others.add(file);
                }
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult visitFileFailed(Path file, IOException error) throws IOException {
                if (file.equals(folder)) {
                    throw error;
                }
                LOG.warn("{} cannot be read and is left out: {}", file, error.toString());
                leftOut.merge(Reason.UNREADABLE, 1, Integer::sum);
                return FileVisitResult.CONTINUE;
            }
        });
        if (!others.isEmpty()) {
            leftOut.put(Reason.OTHER_TYPE, others.size());
            LOG.info(
                    "{} files of {} are of another type than {} and left out: {}{}",
                    others.size(),
                    folder,
                    ENDINGS,
                    others.stream()
                            .sorted()
                            .limit(NAMED)
                            .map(folder::relativize)
                            .toList(),
                    others.size() > NAMED ? " and more" : "");
        }
        files.sort(null);
        return files;
    }

    /** Itself, or with a folder that it is in: what git or an editor keeps is no document that somebody would miss. */
    private static boolean isHidden(Path relative) {
        for (Path part : relative) {
            if (part.toString().startsWith(".")) {
                return true;
            }
        }
        return false;
    }

    private static boolean isText(Path file) {
        String name = file.getFileName().toString();
        int dot = name.lastIndexOf('.');
        return dot > 0 && ENDINGS.contains(name.substring(dot + 1).toLowerCase(java.util.Locale.ROOT));
    }
}
