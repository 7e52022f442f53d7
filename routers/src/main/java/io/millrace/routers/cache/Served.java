package io.millrace.routers.cache;

import io.millrace.id.Ids;
import io.millrace.knowledge.meaning.Question;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Optional;

/** What an interaction got from the response cache or gave to it, kept in Redis for the day it is rated. */
sealed interface Served {
    /** Who has not rated an answer after this time is not heard at once any more. */
    Duration KEEP_PAIR = Duration.ofDays(7);

    /**
     * The entry that it was answered from, or that its answer became.
     *
     * @param epoch of the entry
     * @param key of the entry
     * @param interactionId that first got the answer: a newer answer under the same key is not the one that was rated
     */
    record Exact(String epoch, String key, String interactionId) implements Served {
        @Override
        public byte[] toBytes() {
            return bytes("exact " + epoch + " " + key + " " + interactionId);
        }
    }

    /** @param pair the two questions, see {@link #pair} */
    record Semantic(String pair) implements Served {
        @Override
        public byte[] toBytes() {
            return bytes("semantic " + pair);
        }
    }

    byte[] toBytes();

    /**
     * How long it is kept: the rating of an answer that has gone by itself changes nothing, that of a pair does.
     *
     * @param answer how long the answer is
     */
    default Duration keep(Duration answer) {
        return this instanceof Semantic && answer.compareTo(KEEP_PAIR) < 0 ? KEEP_PAIR : answer;
    }

    /** Where it is kept. */
    static String key(String interactionId) {
        return "millrace:served:" + interactionId;
    }

    /** Names two questions of a tenant, whichever was first. */
    static String pair(String tenant, String a, String b) {
        String one = Question.form(a);
        String other = Question.form(b);
        return one.compareTo(other) < 0 ? Ids.content(tenant, one, other) : Ids.content(tenant, other, one);
    }

    /** Empty when these are bytes of another version. */
    static Optional<Served> read(byte[] bytes) {
        String[] parts = new String(bytes, StandardCharsets.UTF_8).split(" ", -1);
        return switch (parts[0]) {
            case "exact" -> parts.length == 4 ? Optional.of(new Exact(parts[1], parts[2], parts[3])) : Optional.empty();
            case "semantic" -> parts.length == 2 ? Optional.of(new Semantic(parts[1])) : Optional.empty();
            default -> Optional.empty();
        };
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
