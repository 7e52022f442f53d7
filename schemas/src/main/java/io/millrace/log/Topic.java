package io.millrace.log;

import org.apache.avro.Schema;
import org.apache.avro.specific.SpecificData;
import org.apache.avro.specific.SpecificRecord;

/**
 * A topic of the catalog.
 *
 * @param name name without the deployment's prefix
 * @param type class of the value
 * @param key what the key is
 * @param writer the one service that writes it
 * @param what what it holds, one line
 * @param spread how its partition count is chosen
 * @param keep how long records stay
 */
public record Topic<V extends SpecificRecord>(
        String name, Class<V> type, String key, String writer, String what, Spread spread, Keep keep) {

    /** How many partitions a topic has. */
    public enum Spread {
        /** The deployment's partition count: everything keyed by interaction id, and the ticks, must agree. */
        SHARED,
        /** One per slot of a gateway, {@link Topics#REPLY_PARTITIONS}. */
        REPLIES,
        /** One: small tables that every process reads whole. */
        SINGLE
    }

    /** Retention: how long that is says {@link LogSettings.Retention}. */
    public enum Keep {
        SHORT,
        DAYS,
        /** Copied to the archive before it expires. */
        LONG,
        /** The last record of each key, for ever. */
        COMPACT
    }

    /** Where the registry keeps the value's schema. */
    public String subject(String prefix) {
        return prefix + name + "-value";
    }

    /** The Avro schema of the value. */
    public Schema schema() {
        return SpecificData.get().getSchema(type);
    }

    /** Partitions of this topic in a deployment whose shared count is {@code shared}. */
    public int partitions(int shared) {
        return switch (spread) {
            case SHARED -> shared;
            case REPLIES -> Topics.REPLY_PARTITIONS;
            case SINGLE -> 1;
        };
    }
}
