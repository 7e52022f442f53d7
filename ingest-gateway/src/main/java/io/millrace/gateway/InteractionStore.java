package io.millrace.gateway;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import io.millrace.schema.Answer;
import io.millrace.schema.Failure;
import io.millrace.schema.Reply;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.common.TopicPartition;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Reads the projection of interactions. Calls block. */
final class InteractionStore implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(InteractionStore.class);

    /** What is known of an id. */
    sealed interface Found {
        /** @param interaction, decisions, feedback JSON as the projection keeps it */
        record Ended(String interaction, String decisions, String feedback) implements Found {
            /** The body of {@code GET /interactions/{id}}. */
            String toJson() {
                return "{\"interaction\":" + interaction + ",\"decisions\":" + decisions + ",\"feedback\":" + feedback
                        + '}';
            }

            /** Whether texts were kept, and may be told again. */
            boolean isStored() {
                return new JsonObject(interaction).getBoolean("stored", true);
            }

            /** How it ended, for a client that asks with the same idempotency key. */
            Outcome outcome() {
                JsonObject json = new JsonObject(interaction);
                Reply reply = reply(json);
                JsonObject failure = json.getJsonObject("failure");
                return json.getString("outcome", "").equals("answered")
                        ? new Outcome.Answered(reply)
                        : new Outcome.Failed(
                                Problem.of(Failure.newBuilder()
                                        .setReason(failure == null ? "cancelled" : failure.getString("reason", ""))
                                        .setMessage(failure == null ? "" : failure.getString("message", ""))
                                        .setHttpStatus(failure == null ? 409 : failure.getInteger("http_status", 0))
                                        .build()),
                                Optional.of(reply));
            }

            private static Reply reply(JsonObject json) {
                JsonObject answer = json.getJsonObject("answer", new JsonObject());
                JsonArray used = json.getJsonObject("search", new JsonObject()).getJsonArray("used", new JsonArray());
                return Reply.newBuilder()
                        .setInteractionId(json.getString("interaction_id", ""))
                        .setRoute(json.getString("route", ""))
                        .setBackend(json.getString("backend", ""))
                        .setDeployment(json.getString("deployment", ""))
                        .setReason(json.getString("reason", ""))
                        .setConfidence(json.getDouble("confidence"))
                        .setConfidenceKind(json.getString("confidence_kind", "none"))
                        .setContextScore(json.getDouble("context_score"))
                        .setCachedKind(json.getString("cached_kind", ""))
                        .setAttempt(
                                json.getJsonArray("attempts", new JsonArray()).size())
                        .setContextAdded(!used.isEmpty())
                        .setAnswer(
                                answer == null
                                        ? null
                                        : Answer.newBuilder()
                                                .setText(answer.getString("text", ""))
                                                .setMessage(answer.getString("message", ""))
                                                .setFinishReason(answer.getString("finish_reason", "stop"))
                                                .setModel(answer.getString("model", ""))
                                                .setTokensIn(answer.getInteger("tokens_in", 0))
                                                .setTokensOut(answer.getInteger("tokens_out", 0))
                                                .setCostUsd(answer.getDouble("cost_usd", 0.0))
                                                .setBody(answer.getString("body", ""))
                                                .build())
                        .build();
            }
        }

        /** A decision is there, the end is not. */
        record Open() implements Found {}

        /** Nothing. */
        record Unknown() implements Found {}
    }

    // one round trip; jsonb_agg keeps the rows as they were stored
    private static final String FIND = """
            select (select record::text from interactions where interaction_id = ? limit 1),
                   (select coalesce(jsonb_agg(record order by attempt), '[]')::text from decisions where interaction_id = ?),
                   (select coalesce(jsonb_agg(record order by feedback_id), '[]')::text from feedback where interaction_id = ?)
            """;
    private static final String OFFSETS = "select topic, partition, next_offset from sink_offsets";
    private static final int CONNECTIONS = 4;
    private static final long CONNECT_MS = 1_500;
    private static final int QUERY_SECONDS = 3;

    private final String url;
    private final String user;
    private final String password;
    private @Nullable HikariDataSource pool;
    private final AtomicBoolean asking = new AtomicBoolean();
    private volatile boolean up = true;

    InteractionStore(String url, String user, String password) {
        this.url = url;
        this.user = user;
        this.password = password;
    }

    /** Looks for an interaction; throws a 503 when the projection cannot be read. */
    Found find(String id) {
        try (Connection connection = pool().getConnection();
                PreparedStatement statement = connection.prepareStatement(FIND)) {
            for (int parameter = 1; parameter <= 3; parameter++) {
                // an untyped parameter: the column decides whether it is a uuid or a text
                statement.setObject(parameter, id, Types.OTHER);
            }
            try (ResultSet row = statement.executeQuery()) {
                row.next();
                up = true;
                String interaction = row.getString(1);
                String decisions = row.getString(2);
                if (interaction != null) {
                    return new Found.Ended(interaction, decisions, row.getString(3));
                }
                return decisions.equals("[]") ? new Found.Unknown() : new Found.Open();
            }
        } catch (SQLException | RuntimeException e) {
            up = false;
            LOG.warn("the interactions cannot be read: {}", e.getMessage());
            throw Problem.unavailable("postgres_unavailable", "the store of interactions cannot be read now");
        }
    }

    /**
     * Whether the projection is at these offsets of the log, or beyond.
     *
     * @throws SQLException when it cannot be read
     */
    boolean hasReached(Map<TopicPartition, Long> offsets) throws SQLException {
        Map<TopicPartition, Long> next = new HashMap<>();
        try (Connection connection = pool().getConnection();
                PreparedStatement statement = connection.prepareStatement(OFFSETS);
                ResultSet rows = statement.executeQuery()) {
            while (rows.next()) {
                next.put(new TopicPartition(rows.getString(1), rows.getInt(2)), rows.getLong(3));
            }
        }
        return offsets.entrySet().stream().allMatch(each -> next.getOrDefault(each.getKey(), 0L) >= each.getValue());
    }

    /** Whether the last call got through. Where it did not, asks: nobody else may want anything for long. */
    boolean isUp() {
        if (!up && asking.compareAndSet(false, true)) {
            Thread.startVirtualThread(this::ask);
        }
        return up;
    }

    private void ask() {
        try (Connection connection = pool().getConnection()) {
            up = connection.isValid(QUERY_SECONDS);
        } catch (SQLException | RuntimeException e) {
            LOG.debug("the interactions cannot be read yet", e);
        } finally {
            asking.set(false);
        }
    }

    private synchronized HikariDataSource pool() {
        if (pool == null) {
            HikariConfig config = new HikariConfig();
            config.setPoolName("gateway");
            config.setJdbcUrl(url);
            config.setUsername(user);
            config.setPassword(password);
            config.setMaximumPoolSize(CONNECTIONS);
            config.setMinimumIdle(1);
            config.setConnectionTimeout(CONNECT_MS);
            config.setValidationTimeout(1_000);
            config.setInitializationFailTimeout(-1);
            config.setReadOnly(true);
            config.addDataSourceProperty("options", "-c statement_timeout=" + QUERY_SECONDS + "s");
            // of a server that is frozen while it is asked
            config.addDataSourceProperty("socketTimeout", QUERY_SECONDS + 1);
            pool = new HikariDataSource(config);
        }
        return pool;
    }

    @Override
    public synchronized void close() {
        if (pool != null) {
            pool.close();
        }
    }
}
