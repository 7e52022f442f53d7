package io.millrace.log;

import java.time.Duration;

/**
 * Where the log is and how it is laid out in this deployment.
 *
 * @param bootstrapServers {@code host:port} list
 * @param prefix put before every topic name and group id, so that deployments can share a cluster
 * @param partitions partition count of all topics keyed by interaction id, 1..512; fixed when the topics are created
 * @param replication replication factor, 1..n brokers
 * @param retention how long records stay
 */
public record LogSettings(
        String bootstrapServers, String prefix, int partitions, short replication, Retention retention) {

    /**
     * How long records stay.
     *
     * @param brief of topics that are kept {@link Topic.Keep#SHORT}
     * @param days of those kept {@link Topic.Keep#DAYS}
     * @param lasting of those kept {@link Topic.Keep#LONG}
     * @param ours whether the broker is this deployment's own: topics that are there keep what is said here, whoever made them
     */
    public record Retention(Duration brief, Duration days, Duration lasting, boolean ours) {
        /** The defaults, on somebody else's broker. */
        public static final Retention DEFAULT =
                new Retention(Duration.ofHours(1), Duration.ofDays(7), Duration.ofDays(400), false);

        /** Of topics kept so; zero for compacted ones, whose last record of a key stays for ever. */
        public Duration of(Topic.Keep keep) {
            return switch (keep) {
                case SHORT -> brief;
                case DAYS -> days;
                case LONG -> lasting;
                case COMPACT -> Duration.ZERO;
            };
        }

        /** Whether topics that are there get it: else it may be that their owner wanted otherwise. */
        boolean isMeant(Topic.Keep keep) {
            return ours || !of(keep).equals(DEFAULT.of(keep));
        }
    }

    /** With the default retention. */
    public LogSettings(String bootstrapServers, String prefix, int partitions, short replication) {
        this(bootstrapServers, prefix, partitions, replication, Retention.DEFAULT);
    }

    /**
     * Partitions of the embedded broker: enough to show that nothing relies on one, and as few as that, since the records of a moment are
     * then appended and fetched in larger batches (2 instead of 4 saved a quarter of the machine's time at full load).
     */
    public static final int DEFAULT_PARTITIONS = 2;

    public static final String DEFAULT_PREFIX = "millrace.";

    /** The full name of a topic in this deployment. */
    public String name(Topic<?> topic) {
        return prefix + topic.name();
    }

    /** The full id of a consumer group, a share group or a Streams application. */
    public String group(String id) {
        return prefix.replace('.', '-') + id;
    }

    /** Partitions of a topic in this deployment. */
    public int partitions(Topic<?> topic) {
        return topic.partitions(partitions);
    }
}
