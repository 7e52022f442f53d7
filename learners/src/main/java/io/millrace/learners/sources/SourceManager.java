package io.millrace.learners.sources;

import io.micrometer.core.instrument.Gauge;
import io.millrace.learners.knowledge.DocumentTable;
import io.millrace.learners.knowledge.PassageWorker;
import io.millrace.learners.knowledge.SourceBook;
import io.millrace.learners.sources.ConnectApi.Status;
import io.millrace.log.ClientConfig;
import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogTail;
import io.millrace.log.TopicAdmin;
import io.millrace.log.Topics;
import io.millrace.schema.Command;
import io.millrace.schema.Envelope;
import io.millrace.schema.SourceReport;
import io.millrace.schema.SourceStatus;
import io.millrace.service.Service;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BiPredicate;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InterruptException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Keeps what runs in Kafka Connect as {@code knowledge-sources.yaml} says, and tells on {@code source-status} what each source does.
 *
 * <p>The file is looked at twice a second; what changes nothing, see {@link DeclaredSources}, is told. A source that is no longer in the
 * file is removed with its documents, also when that happened while nothing ran: its status on the log says that it was there. A source
 * that cannot be read concerns no other.
 */
public final class SourceManager implements Service {
    /** Command that has a source read now; its target is {@link #TARGET} and the id. */
    public static final String SYNC = "sync";

    public static final String TARGET = "source:";

    /** Key of the status that tells what is wrong with the file itself. */
    public static final String FILE_KEY = SourcesFile.NAME;

    private static final Logger LOG = LoggerFactory.getLogger(SourceManager.class);
    private static final String GROUP = "normalizer-sources";
    private static final String REMOVING = "removing";
    /** What is embedded reaches the index in less; what does not, since a model refused it, never does. */
    private static final long STANDSTILL_NANOS = TimeUnit.SECONDS.toNanos(10);

    private static final int MISSING_TOLD = 50;
    private static final String MISSING =
            "no search finds it: the embedding model, or the index, took none of its passages; see the log";

    private static final long TICK_MS = 250;
    private static final long TICK_NANOS = TimeUnit.MILLISECONDS.toNanos(TICK_MS);
    private static final byte[] REMOVED = "{\"type\":\"removed\"}".getBytes(StandardCharsets.UTF_8);

    private final Log log;
    private final DeclaredSources declared;
    private final Path work;
    private final DocumentTable documents;
    private final SourceBook book;
    private final Connectors connectors;
    private final Searchable searchable;
    private final Admin admin;
    private final Backlog backlog;
    private final LogTail<SourceStatus> statuses;
    private final LogTail<Command> commands;
    private final Thread thread;

    private final Map<String, SourceStatus> told = new ConcurrentHashMap<>();
    /** Removed sources whose documents are not all gone. */
    private final Map<String, Removal> leaving = new HashMap<>();

    private final Set<String> topics = new HashSet<>();
    /** When each source was first seen. */
    private final Map<String, Long> added = new HashMap<>();

    private Map<String, Long> lags = Map.of();
    /** Documents of all sources that are still to be embedded. */
    private long unembedded;

    /** Since when so many documents of a source are not found. */
    private final Map<String, Standstill> standing = new HashMap<>();

    private volatile boolean ready;
    private volatile boolean closed;

    private record Standstill(int missing, long sinceNanos) {}

    /**
     * A source on its way out.
     *
     * @param mark offset of the record that has the normalizer delete all
     * @param documents that it had, and searches may still find
     */
    private record Removal(long mark, Set<String> documents) {}

    /**
     * @param folder holds the file, and the copies of repositories
     * @param collections the configured ones
     * @param isIndexed whether a document, by id, can be found, in this version where a checksum is given
     */
    public SourceManager(
            Log log,
            Path folder,
            List<String> collections,
            ConnectWorker worker,
            DocumentTable documents,
            SourceBook book,
            BiPredicate<String, @Nullable String> isIndexed) {
        this.log = log;
        this.declared = new DeclaredSources(folder.resolve(SourcesFile.NAME), collections);
        this.work = folder.resolve("connect").resolve("git");
        this.connectors = new Connectors(worker, log.settings(), new Preparation(), System::nanoTime);
        this.documents = documents;
        this.book = book;
        this.searchable = new Searchable(isIndexed, System::nanoTime);
        this.admin = Admin.create(ClientConfig.admin(log.settings().bootstrapServers()));
        Map<String, Object> reader = ClientConfig.consumer(log.settings());
        // it counts, and does not want what it counts
        reader.put(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 64 * 1024);
        this.backlog = new Backlog(new KafkaConsumer<>(reader));
        this.statuses = new LogTail<>("sources", Topics.SOURCE_STATUS, LogTail.From.BEGINNING, log, this::recall);
        this.commands = new LogTail<>("sources-commands", Topics.COMMANDS, LogTail.From.END, log, this::command);
        this.thread = Thread.ofPlatform().name("sources").daemon().unstarted(this::run);
        Gauge.builder(
                        "millrace.sources.failed",
                        told,
                        map -> map.values().stream()
                                .filter(status -> status.getState().equals("failed"))
                                .count())
                .description("Knowledge sources that cannot be read")
                .register(log.metrics());
    }

    /** Only what an earlier process wrote: from then on this one knows better. */
    private void recall(LogRecord<SourceStatus> record) {
        SourceStatus status = record.value();
        if (ready) {
            return;
        }
        if (status == null) {
            told.remove(record.key());
        } else {
            told.put(record.key(), status);
        }
    }

    private void command(LogRecord<Command> record) {
        Command command = record.value();
        if (command != null
                && command.getKind().equals(SYNC)
                && command.getTarget().startsWith(TARGET)) {
            connectors.sync(command.getTarget().substring(TARGET.length()));
        }
    }

    private void run() {
        try {
            statuses.caughtUp().get();
            documents.await();
            told.values().forEach(status -> {
                Map<String, String> failures = new HashMap<>(status.getFailures());
                // these are found out, and not remembered
                failures.values().removeIf(MISSING::equals);
                book.recall(status.getSourceId(), status.getScan(), failures);
            });
            ready = true;
            while (!closed) {
                try {
                    tick();
                } catch (InterruptException e) {
                    // of a Kafka client, which leaves the thread interrupted: it ends below
                    LOG.debug("interrupted", e);
                } catch (RuntimeException | ExecutionException | TimeoutException e) {
                    LOG.warn("the sources could not be looked after; tried again", e);
                }
                Thread.sleep(TICK_MS);
            }
        } catch (InterruptedException e) {
            LOG.debug("stopped");
        } catch (ExecutionException e) {
            LOG.error("the sources cannot be read from the log", e);
        } finally {
            try {
                // by the thread that uses it, which is all that may
                backlog.close();
            } catch (InterruptException e) {
                // its close came when the loop had just been left; what there was to close is closed all the same
                LOG.debug("interrupted", e);
            }
        }
    }

    private void tick() throws InterruptedException, ExecutionException, TimeoutException {
        Set<String> there = new HashSet<>(told.keySet());
        there.remove(FILE_KEY);
        if (declared.look(!there.isEmpty())) {
            connectors.forgive();
        }
        Map<String, SourceDefinition> sources = declared.sources();
        Set<String> removed = declared.removed(there);
        // back before it had gone: all of it is read again
        sources.keySet().stream().filter(this::isRemoving).forEach(id -> {
            leaving.remove(id);
            added.put(id, System.currentTimeMillis());
        });
        // before Connect is asked, which takes seconds to start: they are there, and can be asked for
        for (SourceDefinition source : sources.values()) {
            if (!told.containsKey(source.id())) {
                tell(source.id(), status(source));
            }
        }
        boolean wanted = !removed.isEmpty() || sources.values().stream().anyMatch(SourceDefinition::enabled);
        if ((wanted || !connectors.isEmpty()) && connectors.look(sources.values(), removed)) {
            lags = lags();
        }
        for (String id : removed) {
            remove(id);
        }
        for (SourceDefinition source : sources.values()) {
            tell(source.id(), status(source));
        }
        tellFile();
    }

    private boolean isRemoving(String id) {
        SourceStatus last = told.get(id);
        return last != null && last.getState().equals(REMOVING);
    }

    private final class Preparation implements Connectors.Sources {
        @Override
        public String clash(String id) {
            return SourceManager.this.clash(id);
        }

        @Override
        public Map<String, String> config(SourceDefinition source) {
            return source.connectorConfig(log.settings(), work, addedAt(source.id()));
        }

        @Override
        public void prepare(SourceDefinition source) throws InterruptedException, ExecutionException, TimeoutException {
            if (!topics.contains(source.id())) {
                new TopicAdmin(log.settings()).createAndVerify(List.of(Topics.raw(source.id())));
                topics.add(source.id());
            }
            // the normalizer takes nothing of a definition that is not on the log
            tell(source.id(), status(source));
        }
    }

    /** Another number whenever a source begins anew. */
    private long addedAt(String id) {
        return added.computeIfAbsent(id, fresh -> {
            SourceStatus status = told.get(fresh);
            return status == null || status.getAddedAt() == 0 ? System.currentTimeMillis() : status.getAddedAt();
        });
    }

    /**
     * What stands against a source of this id, or empty. A source deletes what it does not have: documents that clients sent under the
     * same name would go.
     */
    private String clash(String id) {
        SourceStatus status = told.get(id);
        int theirs =
                status == null || status.getAddedAt() == 0 ? documents.of(id).size() : 0;
        return theirs == 0
                ? ""
                : "id: " + id + " is a project with " + theirs + " documents that were posted to /documents; choose"
                        + " another id, or delete them";
    }

    /** Has the normalizer delete what a source left, and then forgets the source. */
    private void remove(String id) throws InterruptedException, ExecutionException, TimeoutException {
        SourceStatus last = told.get(id);
        if (last == null || connectors.of(id) != null) {
            return;
        }
        // forgotten while Connect is away, its connector would read on for ever
        if (last.getAddedAt() > 0 && (!isGone(id, last) || connectors.isAway())) {
            return;
        }
        // the topic stays, and its records expire: a reader's position would outlive a topic of the same name
        leaving.remove(id);
        searchable.forget(id);
        standing.remove(id);
        added.remove(id);
        book.forget(id);
        told.remove(id);
        log.producer().tombstone(Topics.SOURCE_STATUS, id).get(30, TimeUnit.SECONDS);
    }

    private boolean isGone(String id, SourceStatus last)
            throws InterruptedException, ExecutionException, TimeoutException {
        Removal removal = leaving.get(id);
        if (removal == null) {
            Set<String> here = new HashSet<>(documents.of(id).keySet());
            // before the mark: whatever comes after that is late, and the normalizer must know it
            tell(id, removing(last, here.size()));
            new TopicAdmin(log.settings()).createAndVerify(List.of(Topics.raw(id)));
            long mark = log.producer()
                    .sendRaw(Topics.raw(id), "$removed".getBytes(StandardCharsets.UTF_8), REMOVED)
                    .get(30, TimeUnit.SECONDS)
                    .offset();
            topics.add(id);
            removal = new Removal(mark, here);
            leaving.put(id, removal);
        }
        // a record before the mark may have become a document since
        removal.documents.addAll(documents.of(id).keySet());
        long began = System.nanoTime();
        removal.documents.removeIf(document -> documents.entry(document) == null
                && System.nanoTime() - began < TICK_NANOS
                && !searchable.mayBeFound(document));
        tell(id, removing(last, removal.documents.size()));
        return removal.documents.isEmpty() && positions(GROUP).getOrDefault(raw(id), 0L) > removal.mark;
    }

    private SourceStatus removing(SourceStatus last, int left) {
        return SourceStatus.newBuilder(last)
                .setState(REMOVING)
                .setError(connectors.error())
                .setDocuments(left)
                .build();
    }

    /** Raw records that the normalizer has yet to make documents of, by source. */
    private Map<String, Long> lags() throws InterruptedException, TimeoutException {
        try {
            Map<TopicPartition, OffsetSpec> latest = new HashMap<>();
            topics.forEach(id -> latest.put(raw(id), OffsetSpec.latest()));
            String embedded = log.settings().name(Topics.DOCUMENTS);
            for (int number = 0; number < log.settings().partitions(Topics.DOCUMENTS); number++) {
                latest.put(new TopicPartition(embedded, number), OffsetSpec.latest());
            }
            Map<TopicPartition, Long> next = positions(GROUP);
            Map<TopicPartition, Long> ends = new HashMap<>();
            admin.listOffsets(latest)
                    .all()
                    .get(10, TimeUnit.SECONDS)
                    .forEach((partition, end) -> ends.put(partition, end.offset()));
            unembedded = unembedded(ends);
            Map<TopicPartition, Long> counts = backlog.count(next, ends);
            Map<String, Long> found = new HashMap<>();
            topics.forEach(id -> found.put(id, counts.getOrDefault(raw(id), 0L)));
            return found;
        } catch (ExecutionException e) {
            LOG.debug("the lag of sources is not known now", e);
            return lags;
        }
    }

    /** Takes the topic of documents out of the ends of topics. */
    private long unembedded(Map<TopicPartition, Long> ends)
            throws InterruptedException, ExecutionException, TimeoutException {
        Map<TopicPartition, Long> next = positions(PassageWorker.GROUP);
        String name = log.settings().name(Topics.DOCUMENTS);
        long count = 0;
        for (TopicPartition partition : Set.copyOf(ends.keySet())) {
            if (partition.topic().equals(name)) {
                count += Math.max(0, ends.getOrDefault(partition, 0L) - next.getOrDefault(partition, 0L));
                ends.remove(partition);
            }
        }
        return count;
    }

    private TopicPartition raw(String id) {
        return new TopicPartition(log.settings().name(Topics.raw(id)), 0);
    }

    /** The next offset that a group has to read. */
    private Map<TopicPartition, Long> positions(String group)
            throws InterruptedException, ExecutionException, TimeoutException {
        Map<TopicPartition, Long> next = new HashMap<>();
        admin.listConsumerGroupOffsets(log.settings().group(group))
                .partitionsToOffsetAndMetadata()
                .get(10, TimeUnit.SECONDS)
                .forEach((partition, at) -> {
                    if (at != null) {
                        next.put(partition, at.offset());
                    }
                });
        return next;
    }

    private SourceStatus status(SourceDefinition source) {
        SourceBook.Page page = book.of(source.id());
        SourceReport scan = page.report();
        boolean owned = clash(source.id()).isEmpty();
        Searchable.Count count = owned
                ? searchable.of(source.id(), documents.version(source.id()), documents.of(source.id()))
                : new Searchable.Count(0, 0, 0);
        long lag = lags.getOrDefault(source.id(), 0L);
        int missing = count.documents() - count.searchable();
        boolean stands = lag == 0 && stands(source.id(), missing);
        Status connector = connectors.of(source.id());
        String error = error(source, connector, scan);
        return SourceStatus.newBuilder()
                .setSourceId(source.id())
                .setKind(source.kind().word())
                .setLocation(source.location())
                .setCollection(source.collection())
                .setTrust(source.trust())
                .setLocalOnly(source.localOnly())
                .setState(
                        !source.enabled()
                                ? "disabled"
                                : error.isEmpty()
                                        ? state(source, connector, scan, lag > 0 || (missing > 0 && !stands))
                                        : "failed")
                .setError(source.enabled() ? error : "")
                .setScan(scan)
                .setDocuments(count.documents())
                .setSearchable(count.searchable())
                .setQuarantined(count.quarantined())
                .setLag(lag)
                .setFailures(stands ? withMissing(source.id(), page.failures()) : page.failures())
                .setAddedAt(owned ? addedAt(source.id()) : 0)
                .setDefinition(owned ? source.definition(addedAt(source.id())) : "")
                .build();
    }

    private String error(SourceDefinition source, @Nullable Status connector, @Nullable SourceReport scan) {
        String refusal = connectors.error(source.id());
        if (!refusal.isEmpty()) {
            return refusal;
        }
        if (connector != null && connector.state().equals("FAILED")) {
            return connector.trace().isEmpty() ? "the connector failed" : connector.trace();
        }
        return scan != null && scan.getState().equals("failed") ? scan.getError() : "";
    }

    /** Whether all was embedded, as far as it can be, and documents are missing that nothing will come of any more. */
    private boolean stands(String id, int missing) {
        Standstill before = standing.get(id);
        if (missing == 0) {
            standing.remove(id);
            return false;
        }
        if (before == null
                || before.missing != missing
                || unembedded > 0
                || searchable.missing(id, 1).isEmpty()) {
            standing.put(id, new Standstill(missing, System.nanoTime()));
            return false;
        }
        return System.nanoTime() - before.sinceNanos > STANDSTILL_NANOS;
    }

    private Map<String, String> withMissing(String id, Map<String, String> failures) {
        Map<String, String> all = new HashMap<>(failures);
        for (String document : searchable.missing(id, Math.max(0, MISSING_TOLD - all.size()))) {
            DocumentTable.Entry entry = documents.entry(document);
            if (entry != null) {
                all.putIfAbsent(entry.path(), MISSING);
            }
        }
        return all;
    }

    private static String state(
            SourceDefinition source, @Nullable Status connector, @Nullable SourceReport scan, boolean unindexed) {
        boolean reports = source.kind() != SourceDefinition.Kind.CONNECTOR;
        if (connector == null || (reports && scan == null)) {
            return "starting";
        }
        if (scan != null && scan.getState().equals("scanning")) {
            return "scanning";
        }
        return unindexed ? "indexing" : "idle";
    }

    private void tell(String id, SourceStatus status)
            throws InterruptedException, ExecutionException, TimeoutException {
        SourceStatus last = told.get(id);
        if (last != null
                && SourceStatus.newBuilder(status)
                        .setEnvelope(last.getEnvelope())
                        .build()
                        .equals(last)) {
            return;
        }
        SourceStatus now = SourceStatus.newBuilder(status)
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(System.currentTimeMillis())
                        .build())
                .build();
        log.producer().send(Topics.SOURCE_STATUS, id, now).get(30, TimeUnit.SECONDS);
        told.put(id, now);
    }

    private void tellFile() throws InterruptedException, ExecutionException, TimeoutException {
        if (!declared.error().isEmpty()) {
            tell(
                    FILE_KEY,
                    SourceStatus.newBuilder()
                            .setSourceId(FILE_KEY)
                            .setKind("file")
                            .setLocation(declared.file().toString())
                            .setState("failed")
                            .setError(declared.error())
                            .build());
        } else if (told.remove(FILE_KEY) != null) {
            log.producer().tombstone(Topics.SOURCE_STATUS, FILE_KEY).get(30, TimeUnit.SECONDS);
        }
    }

    @Override
    public String name() {
        return "sources";
    }

    @Override
    public void start() {
        statuses.start();
        commands.start();
        thread.start();
    }

    @Override
    public boolean isReady() {
        return ready && thread.isAlive();
    }

    @Override
    public Map<String, String> details() {
        Map<String, String> details = new TreeMap<>();
        told.forEach((id, status) -> {
            if (status.getState().equals("failed")) {
                details.put(id, status.getError());
            }
        });
        return details;
    }

    @Override
    public void close() {
        closed = true;
        if (thread.getState() == Thread.State.NEW) {
            // a start that was broken off: it would have closed it
            backlog.close();
        }
        thread.interrupt();
        try {
            thread.join(5_000);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        statuses.close();
        commands.close();
        connectors.close();
        admin.close(java.time.Duration.ofSeconds(2));
    }
}
