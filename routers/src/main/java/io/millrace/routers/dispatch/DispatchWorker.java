package io.millrace.routers.dispatch;

import io.micrometer.core.instrument.Gauge;
import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.log.AvroCodec;
import io.millrace.log.ClientConfig;
import io.millrace.log.DeadLetters;
import io.millrace.log.Log;
import io.millrace.log.LogSettings;
import io.millrace.log.SchemaRegistry.RegistryUnavailableException;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.log.UndecodableException;
import io.millrace.routers.backend.ChatModel;
import io.millrace.schema.Dispatch;
import io.millrace.service.Service;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.WakeupException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Works on one backend's topic.
 *
 * <p>Workers pull from a share group, so one with a free slot takes the next record whatever its partition. A consumer that holds an
 * open record is given nothing new (Kafka 4.3), so records are accepted early: {@code started} is on the log first, and from then on
 * the lease is there and not in the share group. A worker that dies before that lets the record be redelivered; one that dies after it
 * falls silent, and routing decides the next attempt.
 */
public final class DispatchWorker implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(DispatchWorker.class);
    private static final Duration POLL = Duration.ofMillis(200);

    /** Attempts at once on the built-ins, which take microseconds. */
    private static final int BUILTIN_SLOTS = 1_024;

    private final Log log;
    private final MillraceConfig config;
    private final String backend;
    private final Topic<Dispatch> topic;
    private final AvroCodec<Dispatch> codec;
    private final DeadLetters deadLetters;
    private final Cancellations cancellations;
    private final Attempts attempts;
    private final Map<String, Execution> running = new ConcurrentHashMap<>();
    private final ExecutorService executor = Executors.newVirtualThreadPerTaskExecutor();
    private final ScheduledExecutorService watch;
    private final Thread thread;
    private volatile boolean open = true;
    private volatile boolean polled;

    /**
     * @param backend a configured backend, or {@link Topics#BUILTIN}
     * @param claims empty where there is no Redis
     */
    public DispatchWorker(
            Log log, MillraceConfig config, String backend, Cancellations cancellations, Optional<Claims> claims) {
        this.log = log;
        this.config = config;
        this.backend = backend;
        this.topic = Topics.dispatch(backend);
        this.codec = log.codecs().of(topic);
        this.deadLetters = new DeadLetters(log.producer(), log.metrics());
        this.cancellations = cancellations;
        String worker = backend + "-" + UUID.randomUUID().toString().substring(0, 8);
        this.watch = Executors.newSingleThreadScheduledExecutor(
                Thread.ofPlatform().name("lease-" + backend).daemon().factory());
        this.attempts = new Attempts(log, config, worker, new ChatModel(), claims, watch);
        this.thread =
                Thread.ofPlatform().name("dispatch-" + backend).daemon(true).unstarted(this::run);
        Gauge.builder("millrace.dispatch.in.flight", running, Map::size)
                .tag("backend", backend)
                .register(log.metrics());
    }

    @Override
    public String name() {
        return "dispatch-" + backend;
    }

    @Override
    public void start() {
        cancellations.listen(id -> running.values().stream()
                .filter(execution -> execution.interactionId().equals(id))
                .forEach(execution -> execution.abort(Execution.Abort.CANCELLED)));
        long period = config.dispatch().heartbeat().toMillis();
        watch.scheduleAtFixedRate(
                () -> running.values().forEach(Execution::heartbeat), period, period, TimeUnit.MILLISECONDS);
        thread.start();
    }

    @Override
    public boolean isReady() {
        return polled && thread.isAlive();
    }

    private void run() {
        while (open) {
            try (KafkaShareConsumer<byte[], byte[]> consumer = subscribe()) {
                while (open) {
                    ConsumerRecords<byte[], byte[]> records = consumer.poll(POLL);
                    polled = true;
                    take(consumer, records);
                }
            } catch (WakeupException e) {
                LOG.debug("{}: woken to stop", name());
            } catch (InterruptedException e) {
                return;
            } catch (RuntimeException | ExecutionException | TimeoutException e) {
                // what was not accepted is redelivered to a new consumer
                LOG.error("{}: the consumer died and is replaced", name(), e);
                polled = false;
                pause();
            }
        }
    }

    private KafkaShareConsumer<byte[], byte[]> subscribe()
            throws InterruptedException, ExecutionException, TimeoutException {
        String group = log.settings().group("dispatch-" + backend);
        configure(log.settings(), group);
        Map<String, Object> settings = new HashMap<>(ClientConfig.consumer(log.settings()));
        settings.put(ConsumerConfig.GROUP_ID_CONFIG, group);
        settings.put(ConsumerConfig.SHARE_ACKNOWLEDGEMENT_MODE_CONFIG, "explicit");
        settings.remove(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG);
        settings.remove(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG);
        settings.remove(ConsumerConfig.ISOLATION_LEVEL_CONFIG);
        KafkaShareConsumer<byte[], byte[]> consumer = new KafkaShareConsumer<>(settings);
        consumer.subscribe(List.of(log.settings().name(topic)));
        return consumer;
    }

    /** Group settings belong to the broker; every worker sets the same. */
    private static void configure(LogSettings settings, String group)
            throws InterruptedException, ExecutionException, TimeoutException {
        try (Admin admin =
                Admin.create(Map.of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, settings.bootstrapServers()))) {
            ConfigResource resource = new ConfigResource(ConfigResource.Type.GROUP, group);
            // latest, the default, would skip work that was there before the first worker
            AlterConfigOp earliest =
                    new AlterConfigOp(new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET);
            admin.incrementalAlterConfigs(Map.of(resource, List.of(earliest)))
                    .all()
                    .get(10, TimeUnit.SECONDS);
        }
    }

    private record Taken(ConsumerRecord<byte[], byte[]> record, Dispatch dispatch, CompletableFuture<?> started) {}

    private void take(KafkaShareConsumer<byte[], byte[]> consumer, ConsumerRecords<byte[], byte[]> records) {
        List<Taken> taken = new ArrayList<>(records.count());
        for (ConsumerRecord<byte[], byte[]> record : records) {
            try {
                Dispatch dispatch = codec.decode(record.value());
                taken.add(new Taken(record, dispatch, attempts.started(dispatch)));
            } catch (UndecodableException e) {
                deadLetters.bury(record, name(), e, 1);
                consumer.acknowledge(record, AcknowledgeType.ACCEPT);
            } catch (RegistryUnavailableException e) {
                LOG.warn("{}: waiting: {}", name(), e.getMessage());
                consumer.acknowledge(record, AcknowledgeType.RELEASE);
            }
        }
        for (Taken each : taken) {
            try {
                each.started.join();
            } catch (RuntimeException e) {
                LOG.warn("{}: the lease could not be written, the work goes back: {}", name(), e.toString());
                consumer.acknowledge(each.record, AcknowledgeType.RELEASE);
                continue;
            }
            consumer.acknowledge(each.record, AcknowledgeType.ACCEPT);
            begin(each.dispatch);
        }
        if (!records.isEmpty()) {
            // acknowledged now and not with the next poll: a kill in between would redeliver what is in work
            consumer.commitAsync();
        }
    }

    private void begin(Dispatch dispatch) {
        String key = dispatch.getInteractionId() + ":" + dispatch.getAttempt();
        boolean full = running.size() >= slots();
        Execution execution = new Execution(attempts, dispatch, full);
        if (running.putIfAbsent(key, execution) != null) {
            return;
        }
        executor.execute(() -> {
            try {
                execution.run();
            } finally {
                running.remove(key);
            }
        });
    }

    /** What may be in work or waiting: the deployments' slots and the bounded queue. */
    private int slots() {
        if (backend.equals(Topics.BUILTIN)) {
            return BUILTIN_SLOTS;
        }
        int concurrency = config.backends().values().stream()
                .filter(candidate -> candidate.name().equals(backend))
                .flatMap(candidate -> candidate.deployments().stream())
                .mapToInt(Deployment::concurrency)
                .sum();
        return concurrency + config.dispatch().queue();
    }

    private static void pause() {
        try {
            Thread.sleep(Duration.ofMillis(500));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public void close() {
        open = false;
        try {
            thread.join(Duration.ofSeconds(3));
            // what is in work ends by the lease: routing gives it to the next worker
            watch.shutdownNow();
            executor.shutdownNow();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
