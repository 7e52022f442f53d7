package io.millrace.learners.knowledge;

import io.millrace.id.Ids;
import io.millrace.knowledge.Chunker;
import io.millrace.learners.extract.Extractor;
import io.millrace.learners.extract.Extractor.NoTextException;
import io.millrace.learners.extract.Extractor.UnreadableException;
import io.millrace.learners.extract.HtmlText;
import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogWorker;
import io.millrace.log.Topics;
import io.millrace.schema.Document;
import io.millrace.schema.Envelope;
import io.millrace.schema.RawDocument;
import io.millrace.service.Service;
import io.millrace.text.InjectionRisk;
import io.millrace.text.Redactor;
import io.millrace.text.Sanitizer;
import java.nio.ByteBuffer;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Raw documents in, documents out: text taken out of files and pages, ids, titles, invisible characters stripped, secrets redacted,
 * injection risk scored. What is on the log already is not written again.
 *
 * <p>A document that cannot be read becomes a dead letter without its bytes, which are on the raw topic for days and may hold secrets;
 * its last good version stays. One of a source that was read and holds no text has no version any more.
 */
public final class Normalizer implements Service {
    private static final Pattern HEADING = Pattern.compile("(?m)^#[ \\t].*$");
    private static final String STEP = "normalizer";

    private final Log log;
    private final DocumentTable documents;
    private final SourceBook book;
    private final Declarations declarations;
    private final Extractor extractor = new Extractor();
    private final LogWorker<RawDocument> fromApi;
    private final LogWorker<RawDocument> fromSources;

    /**
     * @param documents what is on the log; started and closed by whoever made it
     * @param book receives what it learns of sources
     */
    public Normalizer(Log log, DocumentTable documents, SourceBook book, List<String> collections) {
        this.log = log;
        this.documents = documents;
        this.book = book;
        this.declarations = new Declarations(log);
        RawJson json = new RawJson(log.settings(), Set.copyOf(collections));
        this.fromApi = new LogWorker<>(STEP, Topics.RAW_API, log, 32, this::fromApi);
        this.fromSources =
                new LogWorker<>("normalizer-sources", json.topics(), log, 32, json::decode, this::fromSource);
    }

    private void fromApi(LogRecord<RawDocument> record) throws ExecutionException, InterruptedException {
        RawDocument raw = record.required();
        if (!declarations.isDeclared(raw.getSource())) {
            normalize(record);
        } else if (!raw.getDeleted()) {
            bury(record, raw.getSource() + " became a knowledge source before this was read");
        }
    }

    private void fromSource(LogRecord<RawDocument> record) throws ExecutionException, InterruptedException {
        RawDocument raw = record.required();
        if (raw.getManifest() != null && raw.getDeleted()) {
            // what comes after this is late; that it is must be known here
            declarations.catchUp();
            normalize(record);
        } else if (declarations.isCurrent(raw.getSource(), raw.getDefinition())) {
            normalize(record);
        } else {
            log.metrics().counter("millrace.sources.late").increment();
        }
    }

    private void normalize(LogRecord<RawDocument> record) throws ExecutionException, InterruptedException {
        documents.await();
        RawDocument raw = record.required();
        if (raw.getReport() != null) {
            book.report(raw.getSource(), raw.getReport());
        } else if (raw.getManifest() != null) {
            keepOnly(raw, raw.getManifest());
        } else if (raw.getDeleted()) {
            book.well(raw.getSource(), clean(raw.getPath()));
            String id = raw.getDocumentId().isEmpty()
                    ? documentId(raw.getEnvelope().getTenant(), raw.getSource(), raw.getPath())
                    : raw.getDocumentId();
            if (isMeant(raw, documents.entry(id))) {
                delete(id);
            }
        } else {
            try {
                write(document(raw));
                book.well(raw.getSource(), clean(raw.getPath()));
            } catch (UnreadableException e) {
                if (e instanceof NoTextException && !record.topic().equals(Topics.RAW_API)) {
                    // it was emptied where it comes from; what a client posts may be a mistake
                    delete(documentId(raw.getEnvelope().getTenant(), raw.getSource(), raw.getPath()));
                }
                book.failed(raw.getSource(), clean(raw.getPath()), String.valueOf(e.getMessage()));
                bury(record, String.valueOf(e.getMessage()));
            }
        }
    }

    /** Whether a deletion is of the version that is there. The garbage collector names the one that it found to be of no use. */
    static boolean isMeant(RawDocument deletion, DocumentTable.@Nullable Entry there) {
        String checksum = deletion.getMetadata().get("checksum");
        return deletion.getDocumentId().isEmpty()
                || checksum == null
                || (there != null && checksum.equals(there.checksum()));
    }

    /** By ids: the paths on the log are redacted, and not what the source calls them. */
    private void keepOnly(RawDocument manifest, List<String> paths) throws ExecutionException, InterruptedException {
        String source = manifest.getSource();
        Set<String> kept = paths.stream()
                .map(path -> documentId(manifest.getEnvelope().getTenant(), source, path))
                .collect(Collectors.toSet());
        for (String id : documents.of(source).keySet()) {
            if (!kept.contains(id)) {
                delete(id);
            }
        }
    }

    private void delete(String id) throws ExecutionException, InterruptedException {
        if (documents.entry(id) != null) {
            documents.wrote(
                    id, null, log.producer().tombstone(Topics.DOCUMENTS, id).get());
        }
    }

    private void write(Document document) throws ExecutionException, InterruptedException {
        DocumentTable.Entry before = documents.entry(document.getDocumentId());
        if (before != null && before.checksum().equals(document.getChecksum())) {
            return;
        }
        documents.wrote(
                document.getDocumentId(),
                document,
                log.producer()
                        .send(Topics.DOCUMENTS, document.getDocumentId(), document)
                        .get());
    }

    private void bury(LogRecord<RawDocument> record, String reason) throws ExecutionException, InterruptedException {
        Burial.bury(log, record, clean(record.key()), STEP, reason);
    }

    private Document document(RawDocument raw) throws UnreadableException, InterruptedException {
        ByteBuffer binary = raw.getBinary();
        if (binary == null) {
            return ofText(raw);
        }
        byte[] bytes = new byte[binary.remaining()];
        binary.duplicate().get(bytes);
        return of(raw, extractor.extract(raw.getPath(), raw.getContentType(), bytes));
    }

    /**
     * The document of raw text, Markdown or HTML.
     *
     * @throws UnreadableException when there is no text in it, or too much
     */
    static Document ofText(RawDocument raw) throws UnreadableException {
        boolean html = raw.getContentType().equals("text/html");
        return of(raw, html ? HtmlText.of(raw.getContent()) : new HtmlText.Page("", raw.getContent()));
    }

    private static Document of(RawDocument raw, HtmlText.Page page) throws UnreadableException {
        String content = Redactor.redact(Sanitizer.sanitize(page.text()));
        if (content.isBlank()) {
            throw new NoTextException();
        }
        if (content.length() > Extractor.MAX_CHARS) {
            throw new UnreadableException("holds more than " + Extractor.MAX_CHARS + " characters of text");
        }
        String path = clean(raw.getPath());
        String title = title(raw, page, content, path);
        double risk = InjectionRisk.of(title + "\n" + content);
        Map<String, String> metadata = new TreeMap<>();
        raw.getMetadata().forEach((key, value) -> metadata.put(clean(key), clean(value)));
        Languages.of(raw.getPath()).ifPresent(language -> metadata.putIfAbsent("language", language));
        Document.Builder document = Document.newBuilder()
                .setEnvelope(Envelope.newBuilder(raw.getEnvelope())
                        .setOccurredAt(System.currentTimeMillis())
                        .build())
                .setDocumentId(documentId(raw.getEnvelope().getTenant(), raw.getSource(), raw.getPath()))
                .setSource(raw.getSource())
                .setPath(path)
                .setTitle(title)
                .setCollection(raw.getCollection())
                .setContent(content)
                .setContentType(raw.getContentType())
                .setTrust(raw.getTrust())
                .setTags(raw.getTags().stream().map(Normalizer::clean).toList())
                .setMetadata(metadata)
                .setSourceUrl(clean(raw.getSourceUrl()))
                .setModifiedAt(raw.getModifiedAt())
                .setInjectionRisk(risk)
                .setQuarantined(risk >= InjectionRisk.QUARANTINE)
                .setLocalOnly(raw.getLocalOnly());
        return document.setChecksum(checksum(document)).build();
    }

    private static String clean(String text) {
        return Redactor.redact(Sanitizer.sanitize(text));
    }

    private static String title(RawDocument raw, HtmlText.Page page, String content, String path) {
        if (!raw.getTitle().isBlank()) {
            return clean(raw.getTitle());
        }
        return HEADING.matcher(content)
                .results()
                .flatMap(line -> Chunker.heading(line.group()).stream())
                .map(Chunker.Heading::text)
                .filter(text -> !text.isEmpty())
                .findFirst()
                .orElseGet(
                        () -> page.title().isBlank() ? path.substring(path.lastIndexOf('/') + 1) : clean(page.title()));
    }

    /**
     * The id of a document: the same content from the same place is the same document.
     *
     * @param path as its source calls it, not redacted: two that are redacted to the same text are two documents
     */
    public static String documentId(String tenant, String source, String path) {
        return Ids.content(tenant, source, path);
    }

    /** Over all that a search or a prompt can see of it; not over the time, which a copy changes. */
    private static String checksum(Document.Builder document) {
        Set<String> tags = new HashSet<>(document.getTags());
        return Ids.checksum(String.join(
                "\n",
                document.getCollection(),
                document.getPath(),
                document.getTitle(),
                document.getTrust(),
                document.getSourceUrl(),
                String.valueOf(document.getLocalOnly()),
                String.valueOf(document.getQuarantined()),
                tags.stream().sorted().toList().toString(),
                new TreeMap<>(document.getMetadata()).toString(),
                document.getContent()));
    }

    @Override
    public String name() {
        return STEP;
    }

    @Override
    public void start() {
        declarations.start();
        fromApi.start();
        fromSources.start();
    }

    /** The workers of sources have nothing to be assigned until there is a source. */
    @Override
    public boolean isEssential() {
        return false;
    }

    @Override
    public boolean isReady() {
        return fromApi.isReady();
    }

    @Override
    public void close() {
        fromApi.close();
        fromSources.close();
        declarations.close();
        extractor.close();
    }
}
