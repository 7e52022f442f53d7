package io.millrace.learners.knowledge;

import io.millrace.id.Ids;
import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogWorker;
import io.millrace.log.Topics;
import io.millrace.schema.Document;
import io.millrace.schema.Envelope;
import io.millrace.schema.RawDocument;
import io.millrace.service.Service;
import io.millrace.text.Redactor;
import io.millrace.text.Sanitizer;
import java.util.concurrent.ExecutionException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Raw documents in, documents out: ids, titles, invisible characters stripped, secrets redacted, injection risk scored. */
public final class Normalizer implements Service {
    private static final Pattern HEADING = Pattern.compile("(?m)^#\\s+(.+?)\\s*#*$");

    private final Log log;
    private final LogWorker<RawDocument> worker;

    public Normalizer(Log log) {
        this.log = log;
        this.worker = new LogWorker<>("normalizer", Topics.RAW_API, log, 32, this::normalize);
    }

    private void normalize(LogRecord<RawDocument> record) throws ExecutionException, InterruptedException {
        RawDocument raw = record.required();
        String id = documentId(raw.getEnvelope().getTenant(), raw.getSource(), raw.getPath());
        if (raw.getDeleted()) {
            log.producer().tombstone(Topics.DOCUMENTS, id).get();
            return;
        }
        String content = Redactor.redact(Sanitizer.sanitize(raw.getContent()));
        double risk = InjectionRisk.of(content);
        Document document = Document.newBuilder()
                .setEnvelope(Envelope.newBuilder(raw.getEnvelope())
                        .setOccurredAt(System.currentTimeMillis())
                        .build())
                .setDocumentId(id)
                .setSource(raw.getSource())
                .setPath(raw.getPath())
                .setTitle(raw.getTitle().isEmpty() ? titleOf(content, raw.getPath()) : raw.getTitle())
                .setCollection(raw.getCollection())
                .setContent(content)
                .setContentType(raw.getContentType())
                .setChecksum(checksum(raw.getCollection(), content))
                .setTrust(raw.getTrust())
                .setTags(raw.getTags())
                .setMetadata(raw.getMetadata())
                .setSourceUrl(raw.getSourceUrl())
                .setModifiedAt(raw.getModifiedAt())
                .setInjectionRisk(risk)
                .setQuarantined(risk >= InjectionRisk.QUARANTINE)
                .setLocalOnly(raw.getLocalOnly())
                .build();
        log.producer().send(Topics.DOCUMENTS, id, document).get();
    }

    /** The id of a document: the same content from the same place is the same document. */
    public static String documentId(String tenant, String source, String path) {
        return Ids.content(tenant, source, path);
    }

    /** The checksum of a document as it is stored. */
    static String checksum(String collection, String content) {
        return Ids.checksum(collection + "\n" + content);
    }

    private static String titleOf(String content, String path) {
        Matcher heading = HEADING.matcher(content);
        return heading.find() ? heading.group(1) : path.substring(path.lastIndexOf('/') + 1);
    }

    @Override
    public String name() {
        return "normalizer";
    }

    @Override
    public void start() {
        worker.start();
    }

    @Override
    public boolean isEssential() {
        return false;
    }

    @Override
    public boolean isReady() {
        return worker.isReady();
    }

    @Override
    public void close() {
        worker.close();
    }
}
