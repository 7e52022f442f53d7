package io.millrace.sinks.upkeep;

import io.millrace.log.Log;
import io.millrace.log.Topics;
import io.millrace.schema.Envelope;
import io.millrace.schema.RawDocument;
import io.millrace.service.Service;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Finds documents that were never part of an answer's evidence, have had no good feedback and have not changed for 180 days, and has
 * them deleted, once a week. Documents of a declared source stay: a source is deleted from where it is, and would say that it is there.
 *
 * <p>It asks Postgres, and while the projection is behind it only finds less. What it wants deleted it says on {@code raw.api}: the
 * normalizer alone writes documents.
 */
public final class GarbageCollector implements Service {
    /** How long a document may be of no use. */
    public static final Duration KEPT = Duration.ofDays(180);

    private static final Logger LOG = LoggerFactory.getLogger(GarbageCollector.class);
    private static final long LOOK_MINUTES = 60;
    private static final String STALE = """
            SELECT d.document_id, d.source, d.path, d.collection, d.updated_at
            FROM documents d LEFT JOIN document_usage u ON u.document_id = d.document_id
            WHERE d.updated_at < ? AND d.source <> ALL (?)
              AND u.document_id IS NULL
            ORDER BY d.updated_at, d.document_id
            """;
    /** A row comes back for the one process whose turn it is; the first start only sets the clock. */
    private static final String TURN = """
            INSERT INTO upkeep (name, begun_at) VALUES ('garbage', now())
            ON CONFLICT (name) DO UPDATE SET begun_at = now() WHERE upkeep.begun_at < now() - interval '7 days'
            RETURNING (xmax <> 0) AS again
            """;

    private final Log log;
    private final String url;
    private final String user;
    private final String password;
    private final Supplier<Set<String>> sources;
    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(
            Thread.ofPlatform().name("garbage").daemon().factory());

    /** A document of no use. */
    public record Stale(String documentId, String source, String path, String collection, Instant updatedAt) {}

    /** @param sources ids of the declared sources */
    public GarbageCollector(Log log, String url, String user, String password, Supplier<Set<String>> sources) {
        this.log = log;
        this.url = url;
        this.user = user;
        this.password = password;
        this.sources = sources;
    }

    /**
     * What would be deleted, longest unused first.
     *
     * @param before documents that changed since are kept
     * @throws SQLException when Postgres cannot be asked
     */
    public List<Stale> find(Instant before) throws SQLException {
        try (Connection connection = DriverManager.getConnection(url, user, password);
                PreparedStatement select = connection.prepareStatement(STALE)) {
            select.setTimestamp(1, Timestamp.from(before));
            select.setArray(2, connection.createArrayOf("text", sources.get().toArray(String[]::new)));
            List<Stale> stale = new ArrayList<>();
            try (ResultSet rows = select.executeQuery()) {
                while (rows.next()) {
                    stale.add(new Stale(
                            rows.getString(1),
                            rows.getString(2),
                            rows.getString(3),
                            rows.getString(4),
                            rows.getTimestamp(5).toInstant()));
                }
            }
            return List.copyOf(stale);
        }
    }

    /** Asks for their deletion; returns when the log has it. */
    public void delete(List<Stale> stale) throws InterruptedException, ExecutionException {
        for (Stale each : stale) {
            RawDocument gone = RawDocument.newBuilder()
                    .setEnvelope(Envelope.newBuilder()
                            .setOccurredAt(System.currentTimeMillis())
                            .build())
                    .setSource(each.source())
                    .setPath(each.path())
                    .setDeleted(true)
                    .build();
            log.producer()
                    .send(Topics.RAW_API, each.source() + "/" + each.path(), gone)
                    .get();
        }
        LOG.info("{} documents of no use go", stale.size());
    }

    private void look() {
        try {
            if (isTurn()) {
                delete(find(Instant.now().minus(KEPT)));
            }
        } catch (SQLException | ExecutionException | RuntimeException e) {
            LOG.warn("documents of no use could not be looked for; tried again in an hour: {}", e.toString());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private boolean isTurn() throws SQLException {
        try (Connection connection = DriverManager.getConnection(url, user, password);
                PreparedStatement turn = connection.prepareStatement(TURN);
                ResultSet row = turn.executeQuery()) {
            return row.next() && row.getBoolean(1);
        }
    }

    @Override
    public String name() {
        return "garbage";
    }

    @Override
    public void start() {
        timer.scheduleWithFixedDelay(this::look, 1, LOOK_MINUTES, TimeUnit.MINUTES);
    }

    @Override
    public boolean isReady() {
        return !timer.isShutdown();
    }

    @Override
    public void close() {
        timer.shutdownNow();
    }
}
