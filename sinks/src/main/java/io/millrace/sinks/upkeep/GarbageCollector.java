package io.millrace.sinks.upkeep;

import io.millrace.config.MillraceConfig;
import io.millrace.id.Ids;
import io.millrace.knowledge.VectorIndex;
import io.millrace.log.Log;
import io.millrace.log.Topics;
import io.millrace.schema.Envelope;
import io.millrace.schema.Passage;
import io.millrace.schema.RawDocument;
import io.millrace.schema.TelemetryEvent;
import io.millrace.service.Service;
import io.millrace.sinks.postgres.LogEnds;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Finds documents that are of no use, and has them deleted, once a week or as configured: those that were never part of an answer's evidence or of what
 * a search found, have had no good feedback and have not changed for 180 days or as configured, and those that only repeat another one. Documents of a
 * declared source stay: a source is deleted from where it is, and would say that it is there.
 *
 * <p>It asks Postgres and the index. A use that Postgres does not know would cost a document that is needed: while the projection is behind the log nothing
 * is looked for, and while use is counted for less time than documents have to be unused, none is called so. What it wants deleted it says on
 * {@code raw.api}: the normalizer alone writes documents.
 */
public final class GarbageCollector implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(GarbageCollector.class);
    /** How often it is looked whether it is time. */
    private static final Duration LOOK = Duration.ofHours(1);

    private static final String UNUSED = "unused";
    /** It reads all documents, of which there may be millions. */
    private static final int PATIENCE_SECONDS = 30;

    /** While there is traffic the projection is always some hundred milliseconds behind. */
    private static final Duration CATCH_UP = Duration.ofSeconds(3);

    private static final long ASK_AGAIN_MS = 100;

    private static final Duration STOP = Duration.ofSeconds(5);

    private static final Duration FIRST_LOOK = Duration.ofMinutes(1);
    /** What was used most, and was there first, comes first: of two that say the same it is the one to keep. */
    private static final String CANDIDATES = """
            SELECT d.document_id, d.source, d.path, d.collection, d.checksum, d.updated_at, u.document_id IS NOT NULL AS used
            FROM documents d LEFT JOIN document_usage u ON u.document_id = d.document_id
            ORDER BY coalesce(u.uses, 0) DESC, d.updated_at, d.document_id
            """;
    /** A row comes back for the one process whose turn it is; the first start only sets the clock. */
    private static final String TURN = """
            INSERT INTO upkeep (name, begun_at) VALUES ('garbage', now())
            ON CONFLICT (name) DO UPDATE SET begun_at = now() WHERE upkeep.begun_at < now() - ? * interval '1 millisecond'
            RETURNING (xmax <> 0) AS again
            """;

    private final Log log;
    private final PostgresServer server;
    private final Supplier<Set<String>> sources;
    private final Duplicates duplicates;
    private final MillraceConfig.Knowledge config;
    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(
            Thread.ofPlatform().name("garbage").daemon().factory());

    /**
     * A document of no use.
     *
     * @param checksum of the version that is of no use: one that came since is another matter
     * @param reason {@code unused}, or {@code repeats} and the source and path of the document that stays
     */
    public record Stale(
            String documentId, String source, String path, String collection, String checksum, String reason) {}

    private record Candidate(
            String documentId,
            String source,
            String path,
            String collection,
            String checksum,
            Instant updatedAt,
            boolean used) {
        Stale stale(String reason) {
            return new Stale(documentId, source, path, collection, checksum, reason);
        }
    }

    /**
     * @param sources ids of the declared sources; throws while they are not known
     * @param index that the normalizer's documents end in
     * @param config how often it is done, and what has been of no use long enough
     */
    public GarbageCollector(
            Log log,
            String url,
            String user,
            String password,
            Supplier<Set<String>> sources,
            VectorIndex index,
            MillraceConfig.Knowledge config) {
        this.log = log;
        this.server = new PostgresServer(url, user, password);
        this.sources = sources;
        this.duplicates = new Duplicates(index);
        this.config = config;
    }

    /**
     * What would be deleted.
     *
     * @param before unused documents that changed since are kept; all of them when use is counted only since later
     * @throws ProjectionBehindException when Postgres does not come up with the log within 3 s
     * @throws SQLException when Postgres cannot be asked, or does not answer for half a minute
     */
    public List<Stale> find(Instant before) throws SQLException, ProjectionBehindException, InterruptedException {
        Set<String> declared = sources.get();
        List<Candidate> all;
        boolean known;
        try (Connection connection = server.connect(PATIENCE_SECONDS)) {
            awaitLog(connection);
            known = isUseKnown(connection, before);
            all = candidates(connection);
        }
        Map<String, String> checksums =
                all.stream().collect(Collectors.toMap(Candidate::documentId, Candidate::checksum));
        List<Candidate> candidates =
                all.stream().filter(each -> !declared.contains(each.source())).toList();
        List<Stale> stale = new ArrayList<>();
        for (Candidate each : candidates) {
            if (known && !each.used() && each.updatedAt().isBefore(before)) {
                stale.add(each.stale(UNUSED));
            }
        }
        Set<String> going = stale.stream().map(Stale::documentId).collect(Collectors.toCollection(HashSet::new));
        Set<String> staying = new HashSet<>();
        for (Candidate each : candidates) {
            if (!going.contains(each.documentId())) {
                Optional<Passage> original = duplicates.original(
                        each.documentId(),
                        checksums,
                        other -> declared.contains(other.getSource()) || staying.contains(other.getDocumentId()));
                original.ifPresentOrElse(
                        passage -> stale.add(each.stale("repeats " + passage.getSource() + "/" + passage.getPath())),
                        () -> staying.add(each.documentId()));
            }
        }
        return List.copyOf(stale);
    }

    private void awaitLog(Connection connection) throws SQLException, ProjectionBehindException, InterruptedException {
        LogEnds ends = LogEnds.ofUsage(log);
        long until = System.nanoTime() + CATCH_UP.toNanos();
        for (long behind = ends.behind(connection); behind > 0; behind = ends.behind(connection)) {
            if (System.nanoTime() > until) {
                throw new ProjectionBehindException(behind);
            }
            Thread.sleep(ASK_AGAIN_MS);
        }
    }

    private static boolean isUseKnown(Connection connection, Instant before) throws SQLException {
        try (Statement select = connection.createStatement();
                ResultSet row = select.executeQuery("SELECT since FROM usage_since")) {
            // without a row nobody knows
            Instant since = row.next() ? row.getTimestamp(1).toInstant() : Instant.MAX;
            if (since.isAfter(before)) {
                LOG.info("use of documents is counted since {}: none is called unused since {}", since, before);
                return false;
            }
            return true;
        }
    }

    private static List<Candidate> candidates(Connection connection) throws SQLException {
        try (Statement select = connection.createStatement();
                ResultSet rows = select.executeQuery(CANDIDATES)) {
            List<Candidate> found = new ArrayList<>();
            while (rows.next()) {
                found.add(new Candidate(
                        rows.getString(1),
                        rows.getString(2),
                        rows.getString(3),
                        rows.getString(4),
                        rows.getString(5),
                        rows.getTimestamp(6).toInstant(),
                        rows.getBoolean(7)));
            }
            return found;
        }
    }

    /**
     * Asks for their deletion, and tells it as the event {@code garbage_collected}; returns when the log has both.
     *
     * @param why timer or asked
     */
    public void delete(List<Stale> stale, String why) throws InterruptedException, ExecutionException {
        for (Stale each : stale) {
            RawDocument gone = RawDocument.newBuilder()
                    .setEnvelope(Envelope.newBuilder()
                            .setOccurredAt(System.currentTimeMillis())
                            .build())
                    .setSource(each.source())
                    .setPath(each.path())
                    .setDocumentId(each.documentId())
                    .setMetadata(Map.of("checksum", each.checksum()))
                    .setDeleted(true)
                    .build();
            log.producer()
                    .send(Topics.RAW_API, each.source() + "/" + each.path(), gone)
                    .get();
        }
        long unused =
                stale.stream().filter(each -> each.reason().equals(UNUSED)).count();
        TelemetryEvent event = TelemetryEvent.newBuilder()
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(System.currentTimeMillis())
                        .build())
                .setEventId(Ids.next())
                .setSource("millrace")
                .setEventType("garbage_collected")
                .setAttributes(Map.of(
                        "why", why, "unused", String.valueOf(unused), "repeats", String.valueOf(stale.size() - unused)))
                .build();
        log.producer().send(Topics.TELEMETRY, event.getSource(), event).get();
        LOG.info("{} documents of no use go", stale.size());
    }

    private void look() {
        try {
            if (isTurn()) {
                try {
                    delete(find(Instant.now().minus(config.garbageAfter())), "timer");
                } catch (Exception e) {
                    giveBackTurn(e);
                    throw e;
                }
            }
        } catch (SQLException | ProjectionBehindException | ExecutionException | RuntimeException e) {
            LOG.warn("documents of no use could not be looked for; tried again: {}", e.toString());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private boolean isTurn() throws SQLException {
        try (Connection connection = server.connect(PATIENCE_SECONDS);
                PreparedStatement turn = connection.prepareStatement(TURN)) {
            turn.setLong(1, config.garbageEvery().toMillis());
            try (ResultSet row = turn.executeQuery()) {
                return row.next() && row.getBoolean(1);
            }
        }
    }

    /** So that the next look finds that it is time, also when it is another start's. */
    private void giveBackTurn(Exception why) {
        // a connection is waited for, which an interrupted thread does not do
        boolean interrupted = Thread.interrupted();
        try (Connection connection = server.connect(PATIENCE_SECONDS);
                Statement update = connection.createStatement()) {
            update.executeUpdate("UPDATE upkeep SET begun_at = 'epoch' WHERE name = 'garbage'");
        } catch (SQLException e) {
            why.addSuppressed(e);
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    @Override
    public String name() {
        return "garbage";
    }

    @Override
    public void start() {
        timer.scheduleWithFixedDelay(
                this::look, least(FIRST_LOOK).toMillis(), least(LOOK).toMillis(), TimeUnit.MILLISECONDS);
    }

    private Duration least(Duration look) {
        return look.compareTo(config.garbageEvery()) < 0 ? look : config.garbageEvery();
    }

    @Override
    public boolean isReady() {
        return !timer.isShutdown();
    }

    @Override
    public void close() {
        timer.shutdownNow();
        try {
            // its turn is given back while Postgres is there
            if (!timer.awaitTermination(STOP.toSeconds(), TimeUnit.SECONDS)) {
                LOG.warn("a search for documents of no use did not stop");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
