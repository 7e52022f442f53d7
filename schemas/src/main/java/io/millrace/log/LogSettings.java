package io.millrace.log;

/**
 * Where the log is and how it is laid out in this deployment.
 *
 * @param bootstrapServers {@code host:port} list
 * @param prefix put before every topic name and group id, so that deployments can share a cluster
 * @param partitions partition count of all topics keyed by interaction id, 1..512; fixed when the topics are created
 * @param replication replication factor, 1..n brokers
 */
public record LogSettings(String bootstrapServers, String prefix, int partitions, short replication) {
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
