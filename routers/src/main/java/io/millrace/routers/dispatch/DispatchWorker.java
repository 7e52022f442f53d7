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
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.kafka.clients.admin.Admin;
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
 * the lease is there and not in the share group. The work begins meanwhile, but nothing of it leaves before {@code started} is
 * acknowledged; what ends at once is accepted with its end. A worker that dies before that lets the record be redelivered; one that dies
 * after it falls silent, and routing decides the next attempt.
 */
public final class DispatchWorker implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(DispatchWorker.class);
    private static final Duration POLL = Duration.ofMillis(200);
    private static final Duration BACKOFF = Duration.ofMillis(500);

    /**
     * How long the end of an attempt may take to be its lease as well. Nothing new is fetched meanwhile, so it is short beside what a model
     * takes; the built-ins and the fastest of upstreams need no {@code started} then.
     */
    private static final Duration HOLD = Duration.ofMillis(5);

    /** Attempts at once on the built-ins, which take microseconds. */
    private static final int BUILTIN_SLOTS = 1_024;

    /** How often leases are held against the clock; a heartbeat that blocks must not delay this. */
    private static final Duration LEASE_CHECK = Duration.ofMillis(250);

    /** What attempts get at close to write that they end here, so that routing need not wait for their silence. */
    private static final Duration FAREWELL = Duration.ofSeconds(2);

    /** A worker that hangs before it accepted: 15 s is the least that brokers allow by default, half of their own choice. */
    private static final String LOCK_MS = "15000";

    /**
     * Deliveries until the broker drops a record, silently (before Kafka 4.4). 10 is the most that brokers allow by default: with
     * locks of 15 s that is longer than the default deadline, and the ledger ends what is older.
     */
    private static final String DELIVERIES = "10";

    private final Log log;
    private final MillraceConfig config;
    private final String backend;
    private final Topic<Dispatch> topic;
    private final AvroCodec<Dispatch> codec;
    private final DeadLetters deadLetters;
    private final Cancellations cancellations;
    private final ChatModel model = new ChatModel();
    private final Attempts attempts;
    private final int room;
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
        this(log, config, backend, cancellations, claims, AnswerSink.NONE);
    }

    /**
     * @param backend a configured backend, or {@link Topics#BUILTIN}
     * @param claims empty where there is no Redis
     * @param sink gets the good answers to queries that allow caching
     */
    public DispatchWorker(
            Log log,
            MillraceConfig config,
            String backend,
            Cancellations cancellations,
            Optional<Claims> claims,
            AnswerSink sink) {
        this.log = log;
        this.config = config;
        this.backend = backend;
        this.topic = Topics.dispatch(backend);
        this.codec = log.codecs().of(topic);
        this.deadLetters = new DeadLetters(log.producer(), log.metrics());
        this.cancellations = cancellations;
        List<Deployment> deployments = config.backends().values().stream()
                .filter(candidate -> candidate.name().equals(backend))
                .flatMap(candidate -> candidate.deployments().stream())
                .toList();
        this.room = backend.equals(Topics.BUILTIN)
                ? BUILTIN_SLOTS
                : deployments.stream().mapToInt(Deployment::concurrency).sum()
                        + config.dispatch().queue();
        String worker = backend + "-" + UUID.randomUUID().toString().substring(0, 8);
        // two: heartbeats may block on a producer that has no broker, and alarms must go off all the same
        ScheduledThreadPoolExecutor timers = new ScheduledThreadPoolExecutor(
                2, Thread.ofPlatform().name("lease-" + backend).daemon().factory());
        // or the alarm of an attempt that has ended would hold it, with its query and passages, until its deadline
        timers.setRemoveOnCancelPolicy(true);
        this.watch = timers;
        this.attempts =
                new Attempts(Outbox.to(log), log.metrics(), config, deployments, worker, model, claims, sink, watch);
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
        watch.scheduleAtFixedRate(
                () -> running.values().forEach(Execution::checkLease),
                LEASE_CHECK.toMillis(),
                LEASE_CHECK.toMillis(),
                TimeUnit.MILLISECONDS);
        thread.start();
    }

    @Override
    public boolean isReady() {
        return polled && thread.isAlive();
    }

    @Override
    public Map<String, String> details() {
        return attempts.openCircuits();
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
                pause(BACKOFF);
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
        // a batch is no larger than all of a worker's room. What is in work does not count: one that is full fetches on
        // and refuses, or a worker alone would let its clients wait for their deadlines (decision 017)
        settings.put(ConsumerConfig.SHARE_ACQUIRE_MODE_CONFIG, "record_limit");
        settings.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, Math.min(room, 500));
        // what a share consumer does not know
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
        try (Admin admin = Admin.create(ClientConfig.admin(settings.bootstrapServers()))) {
            ConfigResource resource = new ConfigResource(ConfigResource.Type.GROUP, group);
            // latest, the default, would skip work that was there before the first worker
            set(admin, resource, Map.of("share.auto.offset.reset", "earliest"));
            try {
                set(
                        admin,
                        resource,
                        Map.of("share.record.lock.duration.ms", LOCK_MS, "share.delivery.count.limit", DELIVERIES));
            } catch (ExecutionException e) {
                // a broker with narrower bounds: its own values serve, only less well
                LOG.warn("{}: the broker keeps its share group settings: {}", group, e.getMessage());
            }
        }
    }

    private static void set(Admin admin, ConfigResource resource, Map<String, String> settings)
            throws InterruptedException, ExecutionException, TimeoutException {
        List<AlterConfigOp> changes = settings.entrySet().stream()
                .map(setting -> new AlterConfigOp(
                        new ConfigEntry(setting.getKey(), setting.getValue()), AlterConfigOp.OpType.SET))
                .toList();
        admin.incrementalAlterConfigs(Map.of(resource, changes)).all().get(10, TimeUnit.SECONDS);
    }

    private record Taken(ConsumerRecord<byte[], byte[]> record, Lease lease) {}

    /** The acknowledgements leave with the fetch of the poll that follows at once: a request of their own would be one more a query. */
    private void take(KafkaShareConsumer<byte[], byte[]> consumer, ConsumerRecords<byte[], byte[]> records)
            throws InterruptedException {
        long until = System.nanoTime() + HOLD.toNanos();
        List<Taken> taken = new ArrayList<>(records.count());
        for (ConsumerRecord<byte[], byte[]> record : records) {
            try {
                Dispatch dispatch = decode(record, taken);
                Lease lease = attempts.lease(dispatch);
                taken.add(new Taken(record, lease));
                begin(dispatch, lease);
            } catch (UndecodableException e) {
                takeLeases(taken);
                deadLetters.bury(record, name(), e, 1);
                consumer.acknowledge(record, AcknowledgeType.ACCEPT);
            } catch (RegistryUnavailableException e) {
                consumer.acknowledge(record, AcknowledgeType.RELEASE);
            }
        }
        for (Taken each : taken) {
            each.lease.hold(until);
        }
        for (Taken each : taken) {
            try {
                each.lease.take().join();
            } catch (RuntimeException e) {
                LOG.warn("{}: the lease could not be written, the work goes back: {}", name(), e.toString());
                consumer.acknowledge(each.record, AcknowledgeType.RELEASE);
                continue;
            }
            consumer.acknowledge(each.record, AcknowledgeType.ACCEPT);
        }
    }

    /** For work that has begun, before something is waited for: no lease, no heartbeat, and the work would be given up. */
    private static void takeLeases(List<Taken> begun) {
        begun.forEach(each -> each.lease.take());
    }

    /** Waits for the registry here: released at once, a record would come back at once, until its deliveries are used up. */
    private Dispatch decode(ConsumerRecord<byte[], byte[]> record, List<Taken> before) {
        while (true) {
            try {
                return codec.decode(record.value());
            } catch (RegistryUnavailableException e) {
                if (!open) {
                    throw e;
                }
                takeLeases(before);
                LOG.warn("{}: waiting: {}", name(), e.getMessage());
                pause(BACKOFF);
            }
        }
    }

    private void begin(Dispatch dispatch, Lease lease) {
        String key = dispatch.getInteractionId() + ":" + dispatch.getAttempt();
        boolean full = running.size() >= room;
        Execution execution = new Execution(attempts, dispatch, full, lease);
        if (running.putIfAbsent(key, execution) != null) {
            return;
        }
        if (cancellations.isCancelled(dispatch.getInteractionId())) {
            // the cancel overtook the work
            execution.abort(Execution.Abort.CANCELLED);
        } else {
            execution.prepare();
        }
        executor.execute(() -> {
            try {
                execution.run();
            } finally {
                running.remove(key);
            }
        });
    }

    private static void pause(Duration time) {
        try {
            Thread.sleep(time);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public void close() {
        open = false;
        try {
            // by milliseconds: by a duration one that was never started may not be waited for
            thread.join(2_000);
            running.values().forEach(execution -> execution.abort(Execution.Abort.STOPPING));
            executor.shutdown();
            if (!executor.awaitTermination(FAREWELL.toMillis(), TimeUnit.MILLISECONDS)) {
                LOG.warn("{}: {} attempts are left to their leases", name(), running.size());
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            watch.shutdownNow();
            executor.shutdownNow();
            model.close();
        }
    }
}
