package io.millrace.log;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.config.TopicConfig;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Creates the topics of the catalog and verifies those that are there. */
public final class TopicAdmin {
    private static final Duration TIMEOUT = Duration.ofSeconds(30);
    private static final Duration AGAIN = Duration.ofMillis(20);

    /** What says how long. */
    private static final Map<Topic.Keep, String> SETTINGS = Map.of(
            Topic.Keep.SHORT, "retention.short", Topic.Keep.DAYS, "retention.days", Topic.Keep.LONG, "retention.long");

    private final LogSettings log;

    public TopicAdmin(LogSettings log) {
        this.log = log;
    }

    /**
     * Creates what is missing, and gives to what is there the retention that is set, where the broker is ours or the setting is not the
     * default: else it may be that the owner of the broker wanted otherwise.
     *
     * @return one line for each topic whose retention was changed, that keeps less than is set or takes smaller records
     * @throws IllegalStateException when a topic exists with another partition count: keys would be elsewhere; or is compacted
     *     where records of one key must stay, or the other way round: records would be lost. So nobody may start.
     */
    public List<String> createAndVerify(Collection<Topic<?>> topics) {
        try (Admin admin = Admin.create(ClientConfig.admin(log.bootstrapServers()))) {
            Set<String> existing = admin.listTopics().names().get(TIMEOUT.toSeconds(), TimeUnit.SECONDS);
            List<NewTopic> missing = new ArrayList<>();
            List<String> present = new ArrayList<>();
            for (Topic<?> topic : topics) {
                if (existing.contains(log.name(topic))) {
                    present.add(log.name(topic));
                } else {
                    missing.add(new NewTopic(log.name(topic), log.partitions(topic), log.replication())
                            .configs(configOf(topic)));
                }
            }
            create(admin, missing);
            awaitLeaders(admin, missing);
            verify(admin, topics, present);
            return verifyConfigs(
                    admin,
                    topics.stream()
                            .filter(topic -> present.contains(log.name(topic)))
                            .toList());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while creating topics", e);
        } catch (ExecutionException | TimeoutException e) {
            throw new IllegalStateException(
                    "topics could not be created on " + log.bootstrapServers() + ": " + e.getMessage(), e);
        }
    }

    private static void create(Admin admin, List<NewTopic> missing)
            throws InterruptedException, ExecutionException, TimeoutException {
        for (var result : admin.createTopics(missing).values().entrySet()) {
            try {
                result.getValue().get(TIMEOUT.toSeconds(), TimeUnit.SECONDS);
            } catch (ExecutionException e) {
                // another process of this deployment was quicker
                if (!(e.getCause() instanceof TopicExistsException)) {
                    throw e;
                }
            }
        }
    }

    /**
     * Asks every leader for an offset, which it refuses, and the client asks again, until it leads. A producer that is quicker fails:
     * of its batches in flight the first ones are refused (not leader), a later one is taken, since a new partition knows no
     * sequence, and the earlier ones are then out of order until their delivery times out.
     */
    private static void awaitLeaders(Admin admin, List<NewTopic> created)
            throws InterruptedException, ExecutionException, TimeoutException {
        Map<TopicPartition, OffsetSpec> ends = new HashMap<>();
        for (NewTopic topic : created) {
            for (int partition = 0; partition < topic.numPartitions(); partition++) {
                ends.put(new TopicPartition(topic.name(), partition), OffsetSpec.latest());
            }
        }
        long giveUp = System.nanoTime() + TIMEOUT.toNanos();
        while (true) {
            try {
                // first, since it asks quietly: the client logs an error for every offset of a topic that a broker has
                // yet to hear of
                admin.describeTopics(created.stream().map(NewTopic::name).toList())
                        .allTopicNames()
                        .get(TIMEOUT.toSeconds(), TimeUnit.SECONDS);
                admin.listOffsets(ends).all().get(TIMEOUT.toSeconds(), TimeUnit.SECONDS);
                return;
            } catch (ExecutionException e) {
                if (!(e.getCause() instanceof UnknownTopicOrPartitionException) || System.nanoTime() - giveUp > 0) {
                    throw e;
                }
                Thread.sleep(AGAIN);
            }
        }
    }

    private void verify(Admin admin, Collection<Topic<?>> topics, List<String> present)
            throws InterruptedException, ExecutionException, TimeoutException {
        Map<String, TopicDescription> found =
                admin.describeTopics(present).allTopicNames().get(TIMEOUT.toSeconds(), TimeUnit.SECONDS);
        for (Topic<?> topic : topics) {
            TopicDescription description = found.get(log.name(topic));
            if (description != null && description.partitions().size() != log.partitions(topic)) {
                int has = description.partitions().size();
                throw new IllegalStateException("topic " + log.name(topic) + " has " + has + " partitions and needs "
                        + log.partitions(topic) + ": their number cannot change, so set kafka.partitions: " + has
                        + ", or begin with new topics");
            }
        }
    }

    private List<String> verifyConfigs(Admin admin, List<Topic<?>> present)
            throws InterruptedException, ExecutionException, TimeoutException {
        Map<ConfigResource, Config> found = admin.describeConfigs(
                        present.stream().map(this::resource).toList())
                .all()
                .get(TIMEOUT.toSeconds(), TimeUnit.SECONDS);
        List<String> remarks = new ArrayList<>();
        Map<ConfigResource, Collection<AlterConfigOp>> changed = new HashMap<>();
        for (Topic<?> topic : present) {
            Config config = Objects.requireNonNull(found.get(resource(topic)));
            Map<String, String> wanted = configOf(topic);
            String policy = value(config, TopicConfig.CLEANUP_POLICY_CONFIG);
            if (!policy.equals(wanted.get(TopicConfig.CLEANUP_POLICY_CONFIG))) {
                throw new IllegalStateException("topic " + log.name(topic) + " has cleanup.policy " + policy
                        + " and needs " + wanted.get(TopicConfig.CLEANUP_POLICY_CONFIG)
                        + ", or records are lost: change it, or begin with new topics");
            }
            if (topic.keep() != Topic.Keep.COMPACT) {
                long retention = Long.parseLong(value(config, TopicConfig.RETENTION_MS_CONFIG));
                long set = log.retention().of(topic.keep()).toMillis();
                if (retention != set && log.retention().isMeant(topic.keep())) {
                    changed.put(
                            resource(topic),
                            List.of(
                                    set(wanted, TopicConfig.RETENTION_MS_CONFIG),
                                    set(wanted, TopicConfig.SEGMENT_MS_CONFIG)));
                    remarks.add(
                            "topic " + log.name(topic) + " kept records for " + time(retention) + " and keeps them for "
                                    + time(set) + " from now on (" + SETTINGS.get(topic.keep()) + ")"
                                    + (retention < 0 || retention > set ? ": older ones are deleted" : ""));
                } else if (retention >= 0 && retention < set) {
                    remarks.add("topic " + log.name(topic) + " keeps records for " + time(retention)
                            + " (retention.ms), and " + SETTINGS.get(topic.keep()) + " is " + time(set));
                }
                String bytes = value(config, TopicConfig.RETENTION_BYTES_CONFIG);
                if (Long.parseLong(bytes) >= 0) {
                    remarks.add("topic " + log.name(topic) + " keeps " + bytes
                            + " bytes of a partition (retention.bytes), however young the rest is");
                }
            }
            String largest = value(config, TopicConfig.MAX_MESSAGE_BYTES_CONFIG);
            if (Long.parseLong(largest) < ClientConfig.MAX_RECORD_BYTES) {
                remarks.add("topic " + log.name(topic) + " takes records of " + largest
                        + " bytes (max.message.bytes), and they may have " + ClientConfig.MAX_RECORD_BYTES);
            }
        }
        admin.incrementalAlterConfigs(changed).all().get(TIMEOUT.toSeconds(), TimeUnit.SECONDS);
        return remarks;
    }

    private static AlterConfigOp set(Map<String, String> wanted, String name) {
        return new AlterConfigOp(
                new ConfigEntry(name, Objects.requireNonNull(wanted.get(name))), AlterConfigOp.OpType.SET);
    }

    /** As in the configuration, so far as that can say it. */
    private static String time(long ms) {
        Duration time = Duration.ofMillis(ms);
        if (ms < 0) {
            return "ever";
        }
        return time.toDays() > 0 && time.equals(Duration.ofDays(time.toDays()))
                ? time.toDays() + "d"
                : time.equals(Duration.ofHours(time.toHours()))
                        ? time.toHours() + "h"
                        : ms % 60_000 == 0 ? ms / 60_000 + "m" : ms + "ms";
    }

    private ConfigResource resource(Topic<?> topic) {
        return new ConfigResource(ConfigResource.Type.TOPIC, log.name(topic));
    }

    private static String value(Config config, String name) {
        return Objects.requireNonNull(config.get(name), name).value();
    }

    /** Broker settings of a topic. */
    private Map<String, String> configOf(Topic<?> topic) {
        Map<String, String> config = new HashMap<>();
        config.put(TopicConfig.MAX_MESSAGE_BYTES_CONFIG, String.valueOf(ClientConfig.MAX_RECORD_BYTES));
        if (topic.keep() == Topic.Keep.COMPACT) {
            config.put(TopicConfig.CLEANUP_POLICY_CONFIG, TopicConfig.CLEANUP_POLICY_COMPACT);
        } else {
            config.put(TopicConfig.CLEANUP_POLICY_CONFIG, TopicConfig.CLEANUP_POLICY_DELETE);
            long retention = log.retention().of(topic.keep()).toMillis();
            config.put(TopicConfig.RETENTION_MS_CONFIG, String.valueOf(retention));
            // retention works by whole segments: a segment may not hold much more than a tenth of it, nor less than ten
            // minutes
            long segment = Math.max(Duration.ofMinutes(10).toMillis(), retention / 10);
            config.put(TopicConfig.SEGMENT_MS_CONFIG, String.valueOf(segment));
        }
        return config;
    }
}
