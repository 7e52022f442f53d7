package io.millrace.sinks.postgres;

import io.millrace.knowledge.Facts;
import io.millrace.knowledge.Linkage;
import io.millrace.knowledge.VectorIndex.Candidate;
import io.millrace.service.Service;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.time.Duration;
import java.time.Instant;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Which passages were in the evidence of answers that people rated, from the projections in Postgres, read again every few seconds:
 * only feedback that is new. Synthetic traffic does not count. While Postgres is down, what is known stays.
 */
public final class PassageFeedback implements Linkage, Service {
    private static final Logger LOG = LoggerFactory.getLogger(PassageFeedback.class);
    private static final long EVERY_MS = 2_000;

    /** Feedback older than this tells nothing of a passage any more. */
    private static final Duration KEEP = Duration.ofDays(180);

    /** A table, a column that is not there. */
    private static final Set<String> NOT_MIGRATED = Set.of("42P01", "42703");

    /** Ratings from which a success rate is said. */
    private static final int ENOUGH = 3;

    /** All transactions before it have ended: whatever is read afterwards has what they wrote. */
    private static final String ENDED = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text";

    /** What may be new, and what waits for its interaction, which may reach Postgres after its feedback. */
    private static final String NEW = """
            SELECT f.feedback_id, f.created_at, f.rating, i.interaction_id IS NULL, e->>'passage_id'
            FROM feedback f
            LEFT JOIN interactions i ON i.interaction_id = f.interaction_id
            LEFT JOIN LATERAL jsonb_array_elements(i.record->'evidence') e ON true
            WHERE (f.written_in >= ?::xid8 OR f.feedback_id = ANY (?::uuid[]))
              AND f.created_at >= ? AND f.rating <> 0 AND f.interaction_id IS NOT NULL
              AND NOT coalesce(i.synthetic, false)
              AND NOT coalesce((f.record->'envelope'->>'synthetic')::boolean, false)
            """;

    private static final String BEGINNING = "0";

    private record Rating(boolean good, long at) {}

    /** By passage, then by feedback: so that what is read twice counts once. */
    private final Map<String, Map<String, Rating>> ratings = new ConcurrentHashMap<>();

    private final String url;
    private final Properties properties = new Properties();
    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(
            Thread.ofPlatform().name("passage-feedback").daemon().factory());
    private @Nullable Connection connection;
    private String ended = BEGINNING;
    private Set<String> waiting = Set.of();
    private volatile boolean down;

    public PassageFeedback(String url, String user, String password) {
        this.url = url;
        properties.setProperty("user", user);
        properties.setProperty("password", password);
        properties.setProperty("ApplicationName", "millrace-passage-feedback");
        properties.setProperty("connectTimeout", "5");
        properties.setProperty("socketTimeout", "30");
        properties.setProperty("readOnly", "true");
    }

    @Override
    public List<Candidate> link(List<Candidate> candidates) {
        if (ratings.isEmpty()) {
            return candidates;
        }
        return candidates.stream().map(this::linked).toList();
    }

    private Candidate linked(Candidate candidate) {
        Map<String, Rating> given = ratings.get(candidate.passageId());
        if (given == null) {
            return candidate;
        }
        int good = 0;
        long used = candidate.facts().lastUsed();
        List<Rating> all;
        synchronized (given) {
            all = List.copyOf(given.values());
        }
        for (Rating rating : all) {
            if (rating.good) {
                good++;
                used = Math.max(used, rating.at);
            }
        }
        int bad = all.size() - good;
        Facts own = candidate.facts();
        Facts facts = new Facts(
                own.since(),
                used,
                all.size() >= ENOUGH ? (double) good / all.size() : own.successRate(),
                own.verified(),
                good == bad ? own.feedbackLinked() : good > bad);
        return new Candidate(
                candidate.passageId(),
                candidate.documentId(),
                candidate.vector(),
                candidate.cosine(),
                candidate.bm25(),
                facts);
    }

    void refresh() {
        try {
            Instant oldest = Instant.now().minus(KEEP);
            Connection open = open();
            String next;
            try (Statement select = open.createStatement();
                    ResultSet row = select.executeQuery(ENDED)) {
                row.next();
                next = row.getString(1);
            }
            Set<String> missing = new HashSet<>();
            try (PreparedStatement select = open.prepareStatement(NEW)) {
                select.setString(1, ended);
                select.setArray(2, open.createArrayOf("text", waiting.toArray(String[]::new)));
                select.setTimestamp(3, Timestamp.from(oldest));
                try (ResultSet rows = select.executeQuery()) {
                    while (rows.next()) {
                        String passage = rows.getString(5);
                        if (rows.getBoolean(4)) {
                            missing.add(rows.getString(1));
                        } else if (passage != null) {
                            add(passage, rows);
                        }
                    }
                }
            }
            ended = next;
            waiting = missing;
            forget(oldest.toEpochMilli());
            down = false;
        } catch (SQLException | RuntimeException e) {
            // on the very first start this reads before the sink has made the tables
            boolean early = e instanceof SQLException missing && NOT_MIGRATED.contains(missing.getSQLState());
            if (!down && !early) {
                LOG.warn("feedback on passages cannot be read, what is known is used: {}", e.toString());
            }
            down = !early;
            disconnect();
        }
    }

    private void add(String passage, ResultSet row) throws SQLException {
        Rating rating = new Rating(row.getInt(3) > 0, row.getTimestamp(2).getTime());
        Map<String, Rating> given = ratings.computeIfAbsent(passage, none -> new LinkedHashMap<>());
        synchronized (given) {
            given.put(row.getString(1), rating);
        }
    }

    private void forget(long oldest) {
        ratings.values().removeIf(given -> {
            synchronized (given) {
                given.values().removeIf(rating -> rating.at < oldest);
                return given.isEmpty();
            }
        });
    }

    private Connection open() throws SQLException {
        Connection now = connection;
        if (now == null) {
            now = DriverManager.getConnection(url, properties);
            connection = now;
        }
        return now;
    }

    private void disconnect() {
        Connection now = connection;
        connection = null;
        // who answers next may be another database, or one that was put back
        ended = BEGINNING;
        if (now != null) {
            try {
                now.close();
            } catch (SQLException e) {
                LOG.debug("a connection did not close in good order", e);
            }
        }
    }

    @Override
    public String name() {
        return "passage-feedback";
    }

    @Override
    public void start() {
        timer.scheduleWithFixedDelay(this::refresh, 0, EVERY_MS, TimeUnit.MILLISECONDS);
    }

    /** Always: a search without it is a search all the same. */
    @Override
    public boolean isReady() {
        return true;
    }

    @Override
    public Map<String, String> details() {
        return down ? Map.of("postgres", "down: new feedback does not reorder passages") : Map.of();
    }

    @Override
    public void close() {
        timer.shutdown();
        try {
            if (!timer.awaitTermination(2, TimeUnit.SECONDS)) {
                timer.shutdownNow();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        disconnect();
    }
}
