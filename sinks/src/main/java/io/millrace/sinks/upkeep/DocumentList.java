package io.millrace.sinks.upkeep;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** Reads the projection of documents with how they were used. */
public final class DocumentList {
    private static final int PATIENCE_SECONDS = 3;
    private static final String LIST = """
            WITH asked AS (
                SELECT document_id, source, path, title, collection, trust, quarantined, size, updated_at FROM documents
                WHERE (? = '' OR source = ?) AND (? = '' OR trust = ?))
            SELECT d.document_id, d.source, d.path, d.title, d.collection, d.trust, d.quarantined, d.size, d.updated_at,
                   u.last_accessed_at, coalesce(u.uses, 0), t.total
            FROM (SELECT count(*) AS total FROM asked) t
            LEFT JOIN (SELECT * FROM asked ORDER BY source, path, document_id LIMIT ? OFFSET ?) d ON true
            LEFT JOIN document_usage u ON u.document_id = d.document_id
            ORDER BY d.source, d.path, d.document_id
            """;

    private static final String PLACE = "SELECT source, path FROM documents WHERE document_id = ?";

    private final PostgresServer server;

    public DocumentList(String url, String user, String password) {
        this.server = new PostgresServer(url, user, password);
    }

    /**
     * A document.
     *
     * @param size bytes in UTF-8
     * @param uses answers and searches that it was part of
     */
    public record Row(
            String documentId,
            String source,
            String path,
            String title,
            String collection,
            String trust,
            boolean quarantined,
            long size,
            Instant updatedAt,
            Optional<Instant> lastAccessedAt,
            long uses) {}

    /** @param total of all that were asked for, on this page or not */
    public record Page(long total, List<Row> rows) {
        public Page {
            rows = List.copyOf(rows);
        }
    }

    /**
     * Where a document is.
     *
     * @param path as it is shown: secrets in it are redacted
     */
    public record Place(String source, String path) {}

    /**
     * Where the document of this id is; empty when there is none.
     *
     * @throws SQLException when Postgres cannot be asked, or does not answer within 4 s
     */
    public Optional<Place> place(String documentId) throws SQLException {
        try (Connection connection = server.connect(PATIENCE_SECONDS);
                PreparedStatement select = connection.prepareStatement(PLACE)) {
            select.setString(1, documentId);
            try (ResultSet row = select.executeQuery()) {
                return row.next() ? Optional.of(new Place(row.getString(1), row.getString(2))) : Optional.empty();
            }
        }
    }

    /**
     * Documents by source, path and id, so that each has one place among them.
     *
     * @param source empty for all
     * @param trust empty for all
     * @param limit most rows, at least 1
     * @param offset documents to leave out first, at least 0
     * @throws SQLException when Postgres cannot be asked, or does not answer within 4 s
     */
    public Page of(String source, String trust, int limit, int offset) throws SQLException {
        try (Connection connection = server.connect(PATIENCE_SECONDS);
                PreparedStatement select = connection.prepareStatement(LIST)) {
            select.setString(1, source);
            select.setString(2, source);
            select.setString(3, trust);
            select.setString(4, trust);
            select.setInt(5, limit);
            select.setInt(6, offset);
            long total = 0;
            List<Row> found = new ArrayList<>();
            try (ResultSet rows = select.executeQuery()) {
                while (rows.next()) {
                    total = rows.getLong(12);
                    if (rows.getString(1) == null) {
                        // the total of a page that is empty
                        break;
                    }
                    found.add(new Row(
                            rows.getString(1),
                            rows.getString(2),
                            rows.getString(3),
                            rows.getString(4),
                            rows.getString(5),
                            rows.getString(6),
                            rows.getBoolean(7),
                            rows.getLong(8),
                            rows.getTimestamp(9).toInstant(),
                            Optional.ofNullable(rows.getTimestamp(10)).map(Timestamp::toInstant),
                            rows.getLong(11)));
                }
            }
            return new Page(total, found);
        }
    }
}
