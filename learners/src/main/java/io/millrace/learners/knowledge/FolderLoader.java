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
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Reads the Markdown and text files of a folder into the log. */
public final class FolderLoader {
    private static final Logger LOG = LoggerFactory.getLogger(FolderLoader.class);
    private static final Set<String> ENDINGS = Set.of("md", "markdown", "txt", "rst", "org");

    /** A larger file is no text that somebody wrote. */
    private static final long MAX_BYTES = 2L * 1024 * 1024;

    private final Log log;

    public FolderLoader(Log log) {
        this.log = log;
    }

    /** A document on its way: it is searchable when the index has it with this checksum. */
    public record Loaded(String documentId, String checksum, String path) {}

    /**
     * Sends a folder's files to the log and waits until they are there.
     *
     * @param name source name; paths are relative to the folder, so the same folder elsewhere is the same source
     * @throws IOException when the folder cannot be read; a single bad file or folder in it is logged and left out
     */
    public List<Loaded> load(Path folder, String name, String collection) throws IOException {
        List<Path> files = texts(folder);
        String source = "folder:" + name;
        List<Loaded> loaded = new ArrayList<>();
        List<CompletableFuture<?>> sent = new ArrayList<>();
        for (Path file : files) {
            String path = folder.relativize(file).toString().replace('\\', '/');
            try {
                if (Files.size(file) > MAX_BYTES) {
                    LOG.warn("{} is larger than 2 MB and left out", file);
                    continue;
                }
                String content = Files.readString(file, StandardCharsets.UTF_8);
                if (content.isBlank()) {
                    continue;
                }
                RawDocument raw = RawDocument.newBuilder()
                        .setEnvelope(Envelope.newBuilder()
                                .setOccurredAt(System.currentTimeMillis())
                                .build())
                        .setSource(source)
                        .setPath(path)
                        .setCollection(collection)
                        .setContent(content)
                        .setContentType(path.endsWith(".md") ? "text/markdown" : "text/plain")
                        .setModifiedAt(Files.getLastModifiedTime(file).toMillis())
                        .build();
                sent.add(log.producer().send(Topics.RAW_API, source + "/" + path, raw));
                Document document = Normalizer.ofText(raw);
                loaded.add(new Loaded(document.getDocumentId(), document.getChecksum(), path));
            } catch (Extractor.UnreadableException e) {
                LOG.warn("{} is left out: {}", file, e.getMessage());
            } catch (CharacterCodingException e) {
                LOG.warn("{} is no UTF-8 text and left out", file);
            } catch (IOException e) {
                LOG.warn("{} cannot be read and is left out: {}", file, e.toString());
            }
        }
        sent.forEach(CompletableFuture::join);
        return loaded;
    }

    private static List<Path> texts(Path folder) throws IOException {
        List<Path> files = new ArrayList<>();
        Files.walkFileTree(folder, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) {
                if (isText(file) && Files.isRegularFile(file)) {
                    files.add(file);
                }
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult visitFileFailed(Path file, IOException error) throws IOException {
                if (file.equals(folder)) {
                    throw error;
                }
                LOG.warn("{} cannot be read and is left out: {}", file, error.toString());
                return FileVisitResult.CONTINUE;
            }
        });
        files.sort(null);
        return files;
    }

    private static boolean isText(Path file) {
        String name = file.getFileName().toString();
        int dot = name.lastIndexOf('.');
        return dot > 0 && ENDINGS.contains(name.substring(dot + 1).toLowerCase(java.util.Locale.ROOT));
    }
}
