package io.millrace.gateway;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import io.millrace.id.Ids;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.time.Instant;
import java.util.Optional;

/** Reads interactions back from Postgres. Blocking: called off the event loop. */
final class Interactions implements AutoCloseable {
    private final HikariDataSource database;

    Interactions(String jdbcUrl, String user, String password) {
        HikariConfig pool = new HikariConfig();
        pool.setJdbcUrl(jdbcUrl);
        pool.setUsername(user);
        pool.setPassword(password);
        pool.setMaximumPoolSize(4);
        pool.setReadOnly(true);
        pool.setConnectionTimeout(2_000);
        pool.setInitializationFailTimeout(-1);
        pool.setPoolName("gateway");
        this.database = new HikariDataSource(pool);
    }

    /** Whether the database answers. */
    boolean isUp() {
        try (Connection connection = database.getConnection()) {
            return connection.isValid(1);
        } catch (SQLException e) {
            return false;
        }
    }

    /** An interaction with its decisions and feedback; empty when it has not ended, or never was. */
    Optional<ObjectNode> find(String id) throws SQLException {
        try (Connection connection = database.getConnection()) {
            ArrayNode found = records(
                    connection,
                    "SELECT record FROM interactions WHERE interaction_id = ?::uuid AND accepted_at = ?",
                    id,
                    true);
            if (found.isEmpty()) {
                return Optional.empty();
            }
            ObjectNode all = Fields.JSON.createObjectNode();
            all.set("interaction", found.get(0));
            all.set(
                    "decisions",
                    records(
                            connection,
                            "SELECT record FROM decisions WHERE interaction_id = ?::uuid AND accepted_at = ? ORDER BY attempt",
                            id,
                            true));
            all.set(
                    "feedback",
                    records(
                            connection,
                            "SELECT record FROM feedback WHERE interaction_id = ?::uuid ORDER BY created_at",
                            id,
                            false));
            return Optional.of(all);
        }
    }

    private static ArrayNode records(Connection connection, String sql, String id, boolean byTime) throws SQLException {
        ArrayNode records = Fields.JSON.createArrayNode();
        try (PreparedStatement select = connection.prepareStatement(sql)) {
            select.setString(1, id);
            if (byTime) {
                // the id holds the time, which names the one partition to look into
                select.setTimestamp(2, Timestamp.from(Instant.ofEpochMilli(Ids.millisOf(id))));
            }
            try (ResultSet rows = select.executeQuery()) {
                while (rows.next()) {
                    records.add(Fields.JSON.readTree(rows.getString(1)));
                }
            }
        } catch (JsonProcessingException e) {
            throw new SQLException("a record is no JSON", e);
        }
        return records;
    }

    @Override
    public void close() {
        database.close();
    }
}
