package io.millrace.routers.cache;

import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogTail;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.schema.Feedback;
import io.millrace.schema.Interaction;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.function.Consumer;
import org.apache.avro.specific.SpecificRecord;

/**
 * What people rejected: answers, and pairs of questions of which they said that they are different. The log has it; Redis holds it for the
 * caches, with a mark that says that all is there, and of which run of the server that is true. Where the mark is missing or another
 * run's, Redis may have lost what it knew, and nothing is served from a cache until it was read from the log again.
 */
public final class Bans {
    /** As long as the log keeps the feedback. */
    public static final Duration KEEP = Duration.ofDays(400);

    /** Longer than any answer is kept, and than a query may take. */
    public static final Duration KEEP_ANSWER = Duration.ofDays(31);

    /** What was said shortly before a snapshot may have been heard after it. */
    private static final Duration MARGIN = Duration.ofMinutes(10);

    /** The run of the server and the time until which all that was said is there, in milliseconds since the epoch. */
    public static final String MARK = "millrace:different-known";

    private Bans() {}

    /** Where it is kept that the questions of a pair are different. */
    static String key(String pair) {
        return "millrace:different:" + pair;
    }

    /** Where it is kept that the answer that an interaction got from a model is bad. */
    static String answer(String interactionId) {
        return "millrace:rejected:" + interactionId;
    }

    /** @param until in milliseconds since the epoch */
    public record Kept(String value, long until) {}

    /**
     * What Redis is to hold.
     *
     * @param keys rejected answers and pairs, and who was served a pair that may be rejected yet
     * @param pairs how many of them are rejected pairs
     */
    public record All(Map<String, Kept> keys, int pairs) {}

    /** What somebody said of an answer. */
    enum Verdict {
        REJECTED,
        APPROVED,
        NONE;

        static Verdict of(Feedback feedback) {
            int rating = feedback.getRating() == null ? 0 : feedback.getRating();
            if (feedback.getEnvelope().getSynthetic()
                    || feedback.getInteractionId().isEmpty()) {
                return NONE;
            }
            if (rating < 0
                    || feedback.getOutcome().equals("failure")
                    || !feedback.getCorrection().isBlank()) {
                return REJECTED;
            }
            return rating > 0 ? APPROVED : NONE;
        }
    }

    private record Said(Verdict verdict, long at) {}

    /**
     * Reads it from {@code feedback} and {@code interactions}, from the beginning to the present end: seconds for a million records.
     *
     * @param since all that was said before is known, in milliseconds since the epoch: when nothing was said after it, nothing is missing
     * @throws IllegalStateException when a topic cannot be read
     */
    public static All read(Log log, long since) throws InterruptedException {
        Map<String, List<Said>> ofInteraction = new HashMap<>();
        boolean[] more = {since == 0};
        read(log, Topics.FEEDBACK, record -> {
            Feedback feedback = record.value();
            if (feedback != null && Verdict.of(feedback) != Verdict.NONE) {
                more[0] |= record.timestamp() >= since - MARGIN.toMillis();
                ofInteraction
                        .computeIfAbsent(feedback.getInteractionId(), id -> new ArrayList<>())
                        .add(new Said(Verdict.of(feedback), record.timestamp()));
            }
        });
        if (!more[0]) {
            return new All(Map.of(), 0);
        }
        long now = System.currentTimeMillis();
        Map<String, Kept> keys = new HashMap<>();
        ofInteraction.forEach((id, said) -> reject(keys, id, said, now));
        Map<String, List<Said>> ofPair = new HashMap<>();
        read(log, Topics.INTERACTIONS, record -> {
            Interaction interaction = record.value();
            if (interaction == null || interaction.getCachedKind().isEmpty()) {
                return;
            }
            String pair = interaction.getCachedPair();
            long until = record.timestamp() + Served.KEEP_PAIR.toMillis();
            if (!pair.isEmpty() && until > now) {
                keys.put(
                        Served.key(interaction.getInteractionId()),
                        new Kept(new String(new Served.Semantic(pair).toBytes(), StandardCharsets.UTF_8), until));
            }
            // a record that is there twice counts once
            List<Said> said = ofInteraction.remove(interaction.getInteractionId());
            if (said == null) {
                return;
            }
            if (pair.isEmpty()) {
                reject(keys, interaction.getCachedInteractionId(), said, now);
            } else {
                ofPair.computeIfAbsent(pair, each -> new ArrayList<>()).addAll(said);
            }
        });
        int pairs = 0;
        for (Map.Entry<String, List<Said>> pair : ofPair.entrySet()) {
            // the sort is stable: what was said of one interaction stays in the order of its partition
            List<Said> said = pair.getValue();
            said.sort(Comparator.comparingLong(Said::at));
            long until = said.getLast().at + KEEP.toMillis();
            if (said.getLast().verdict == Verdict.REJECTED && until > now) {
                keys.put(key(pair.getKey()), new Kept("1", until));
                pairs++;
            }
        }
        return new All(keys, pairs);
    }

    /** An approval takes nothing back here: the next answer is as good. */
    private static void reject(Map<String, Kept> keys, String answer, List<Said> said, long now) {
        said.stream()
                .filter(each -> each.verdict == Verdict.REJECTED)
                .mapToLong(each -> each.at + KEEP_ANSWER.toMillis())
                .filter(until -> until > now)
                .max()
                .ifPresent(
                        until -> keys.merge(answer(answer), new Kept("1", until), (a, b) -> a.until > b.until ? a : b));
    }

    private static <V extends SpecificRecord> void read(Log log, Topic<V> topic, Consumer<LogRecord<V>> handler)
            throws InterruptedException {
        try (LogTail<V> tail = new LogTail<>("bans", topic, LogTail.From.BEGINNING, log, handler::accept)) {
            tail.start().caughtUp().get();
        } catch (ExecutionException e) {
            throw new IllegalStateException(topic.name() + " cannot be read: " + e.getCause(), e);
        }
    }
}
