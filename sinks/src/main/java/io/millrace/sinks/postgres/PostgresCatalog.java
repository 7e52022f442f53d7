package io.millrace.sinks.postgres;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import io.millrace.knowledge.DocumentCatalog;
import io.millrace.knowledge.Filter;
import io.millrace.schema.Hit;
import io.millrace.text.DocumentQuestion;
import io.millrace.text.DocumentQuestion.Condition;
import io.millrace.text.DocumentQuestion.Kind;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Questions about documents, asked of the projection {@code documents}. Read-only connections, names from a fixed list, values as
 * parameters, three seconds at most. Quarantined documents are never told of.
 */
public final class PostgresCatalog implements DocumentCatalog, AutoCloseable {
    private static final int CONNECTIONS = 4;
    private static final int PATIENCE_MS = 3_000;

    private static final Map<String, String> COLUMNS = Map.ofEntries(
            Map.entry("document_id", "document_id"),
            Map.entry("source", "source"),
            Map.entry("path", "path"),
            Map.entry("title", "title"),
            Map.entry("collection", "collection"),
            Map.entry("trust", "trust"),
            Map.entry("language", "coalesce(metadata->>'language', '')"),
            Map.entry("version", "coalesce(metadata->>'version', '')"),
            Map.entry("framework", "coalesce(metadata->>'framework', '')"),
            Map.entry("category", "coalesce(metadata->>'category', '')"),
            Map.entry("tags", "tags"),
            Map.entry("size", "size"),
            // metadata is free: only what is a number becomes one
            Map.entry(
                    "success_rate",
                    "(CASE WHEN metadata->>'success_rate' ~ '^[0-9]{1,3}(\\.[0-9]{1,12})?$'"
                            + " THEN (metadata->>'success_rate')::float8 ELSE 0 END)"),
            Map.entry("modified_at", "modified_at"),
            Map.entry("updated_at", "updated_at"));

    private final HikariDataSource connections;

    public PostgresCatalog(String url, String user, String password) {
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl(url);
        config.setUsername(user);
        config.setPassword(password);
        config.setPoolName("catalog");
        config.setReadOnly(true);
        config.setMaximumPoolSize(CONNECTIONS);
        config.setMinimumIdle(0);
        config.setConnectionTimeout(PATIENCE_MS);
        // the database may start later
        config.setInitializationFailTimeout(-1);
        config.addDataSourceProperty("ApplicationName", "millrace-catalog");
        // of a server that is frozen while it is asked
        config.addDataSourceProperty("socketTimeout", PATIENCE_MS / 1_000 + 1);
        config.addDataSourceProperty("options", "-c statement_timeout=" + PATIENCE_MS);
        this.connections = new HikariDataSource(config);
    }

    @Override
    public List<Hit> ask(DocumentQuestion question, Filter filter, int limit) {
        List<Object> parameters = new ArrayList<>();
        List<String> where = new ArrayList<>(List.of("NOT quarantined"));
        question.conditions().forEach(condition -> where.add(condition(condition, parameters)));
        restrict(filter, where, parameters);
        boolean count = question.fields().isEmpty();
        String select = count
                ? "SELECT count(*) FROM documents WHERE " + String.join(" AND ", where)
                : "SELECT document_id, collection, title, path, trust, source, "
                        + question.fields().stream()
                                .map(PostgresCatalog::column)
                                .collect(Collectors.joining(", "))
                        + " FROM documents WHERE " + String.join(" AND ", where) + " ORDER BY "
                        + question.order()
                                .map(order -> column(order.field()) + (order.descending() ? " DESC" : "")
                                        + " NULLS LAST, document_id")
                                .orElse("document_id")
                        + " LIMIT ?";
        if (!count) {
            parameters.add(question.limit() > 0 ? Math.min(question.limit(), limit) : limit);
        }
        try (Connection connection = connections.getConnection();
                PreparedStatement statement = connection.prepareStatement(select)) {
            for (int i = 0; i < parameters.size(); i++) {
                statement.setObject(i + 1, parameters.get(i));
            }
            try (ResultSet rows = statement.executeQuery()) {
                List<Hit> hits = new ArrayList<>();
                while (rows.next()) {
                    hits.add(count ? counted(rows.getLong(1)) : hit(rows, question.fields()));
                }
                return hits;
            }
        } catch (SQLException e) {
            throw new CatalogException("the database of documents did not answer: " + e.getMessage(), e);
        }
    }

    private static String column(String field) {
        return Objects.requireNonNull(COLUMNS.get(field), field);
    }

    private static String condition(Condition condition, List<Object> parameters) {
        String column = column(condition.field());
        Kind kind = Objects.requireNonNull(DocumentQuestion.FIELDS.get(condition.field()));
        return switch (kind) {
            case TAGS -> {
                parameters.add(condition.value());
                yield (condition.operator().equals("=") ? "" : "NOT ") + "tags @> to_jsonb(?::text)";
            }
            case NUMBER -> {
                parameters.add(Double.parseDouble(condition.value()));
                yield column + " " + operator(condition) + " ?";
            }
            case TIME -> {
                parameters.add(condition.time());
                yield column + " " + operator(condition) + " ?";
            }
            case TEXT -> {
                parameters.add(condition.value());
                yield column + " " + operator(condition) + " ?";
            }
        };
    }

    private static String operator(Condition condition) {
        return switch (condition.operator()) {
            case "=", "!=", "<", "<=", ">", ">=" -> condition.operator();
            case "like" -> "ILIKE";
            default -> throw new IllegalArgumentException(condition.operator());
        };
    }

    private static void restrict(Filter filter, List<String> where, List<Object> parameters) {
        if (!filter.collections().isEmpty()) {
            where.add("collection IN ("
                    + filter.collections().stream().map(name -> "?").collect(Collectors.joining(", ")) + ")");
            parameters.addAll(filter.collections());
        }
        filter.fields().forEach((field, value) -> {
            where.add(column(field) + " = ?");
            parameters.add(value);
        });
        filter.tags().forEach(tag -> {
            where.add("tags @> to_jsonb(?::text)");
            parameters.add(tag);
        });
        if (filter.minSuccessRate() > 0) {
            where.add(column("success_rate") + " >= ?");
            parameters.add(filter.minSuccessRate());
        }
    }

    private static Hit hit(ResultSet rows, List<String> fields) throws SQLException {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < fields.size(); i++) {
            Object value = rows.getObject(7 + i);
            text.append(text.isEmpty() ? "" : "\n")
                    .append(fields.get(i))
                    .append(": ")
                    .append(shown(value));
        }
        return row(text.toString())
                .setDocumentId(rows.getString(1))
                .setCollection(rows.getString(2))
                .setTitle(rows.getString(3))
                .setPath(rows.getString(4))
                .setTrust(rows.getString(5))
                .setSource(rows.getString(6))
                .setPassageId(rows.getString(1))
                .build();
    }

    private static String shown(@Nullable Object value) {
        return switch (value) {
            case null -> "";
            case java.sql.Timestamp time -> time.toInstant().toString();
            default -> value.toString();
        };
    }

    private static Hit counted(long count) {
        return row("count: " + count)
                .setPassageId("count")
                .setTitle("Number of documents")
                .build();
    }

    private static Hit.Builder row(String text) {
        return Hit.newBuilder().setText(text).setUnit("row").setScore(1.0);
    }

    @Override
    public void close() {
        connections.close();
    }
}
