package io.millrace.topology.learning;

import io.millrace.id.Ids;
import io.millrace.log.AvroCodec;
import io.millrace.log.Codecs;
import io.millrace.log.Topics;
import io.millrace.log.UndecodableException;
import io.millrace.schema.Hit;
import io.millrace.schema.Query;
import io.millrace.schema.QueryGap;
import io.millrace.schema.Retrieval;
import io.millrace.text.Redactor;
import java.util.List;
import java.util.Locale;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;

/**
 * What was asked, and how well the knowledge covers it, keyed by the question. Synthetic traffic, texts that may not be stored and
 * searches that did not happen are left out.
 */
final class Asked extends ContextualProcessor<String, byte[], String, byte[]> {
    private static final int LONGEST = 500;

    private final AvroCodec<Retrieval> retrievals;
    private final AvroCodec<QueryGap> gaps;

    Asked(Codecs codecs) {
        this.retrievals = codecs.of(Topics.RETRIEVALS);
        this.gaps = codecs.of(Topics.GAP_CANDIDATES);
    }

    @Override
    public void process(Record<String, byte[]> record) {
        Retrieval retrieval;
        try {
            retrieval = retrievals.decode(record.value());
        } catch (UndecodableException e) {
            // routing makes the dead letter of it
            return;
        }
        Double score = retrieval.getContextScore();
        if (score != null && retrieval.getCoveredScore() != null) {
            // known, and with the client already
            score = Math.max(score, retrieval.getCoveredScore());
        }
        Query query = retrieval.getQuery();
        String text = query.getText().strip();
        if (score == null || retrieval.getEnvelope().getSynthetic() || !query.getStore() || text.isEmpty()) {
            return;
        }
        String redacted = Redactor.redact(text);
        QueryGap asked = QueryGap.newBuilder()
                .setEnvelope(retrieval.getEnvelope())
                .setQueryHash(hash(retrieval.getEnvelope().getTenant(), redacted))
                .setQueryText(redacted.length() > LONGEST ? redacted.substring(0, LONGEST) : redacted)
                .setContextScore(score)
                .setCount(1)
                .setLastAskedAt(record.timestamp())
                .setCollections(collections(query, retrieval.getHits()))
                .build();
        context().forward(record.withKey(asked.getQueryHash()).withValue(gaps.encode(asked)));
    }

    /** The same question in other case, spacing or end marks is the same. */
    static String hash(String tenant, String text) {
        String plain = text.toLowerCase(Locale.ROOT).replaceAll("\\s+", " ").replaceAll("(?<![\\s?!.])[\\s?!.]++$", "");
        return Ids.content(tenant, plain);
    }

    /** Those that were asked for, or the one that came nearest. */
    private static List<String> collections(Query query, List<Hit> hits) {
        if (!query.getCollections().isEmpty()) {
            return query.getCollections();
        }
        return hits.isEmpty() ? List.of() : List.of(hits.getFirst().getCollection());
    }
}
