package io.millrace.sinks.postgres;

import io.millrace.id.Ids;
import io.millrace.log.Topic;
import io.millrace.log.UndecodableException;
import java.time.Instant;
import java.time.YearMonth;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.avro.specific.SpecificRecord;
import org.jspecify.annotations.Nullable;

/**
 * What a topic's records are as rows: the table, its columns, and how each is taken from the value.
 *
 * <p>All rows of a batch go in one statement, {@code INSERT … SELECT … FROM unnest(?, ?, …) ON CONFLICT DO UPDATE}, an array per
 * column: the statement does not depend on the size of the batch, so the server parses and plans it once, and the parameters are
 * sent in binary. (A multi-row {@code VALUES} list has a text, and a plan, for every size; a JDBC batch has a round of bind and
 * execute for every row.)
 *
 * @param topic where the values come from
 * @param table where they go
 * @param columns all columns that are written, in the order of the statement's arrays
 * @param deletable whether a tombstone deletes the row; elsewhere a tombstone is an error
 */
record Projection<V extends SpecificRecord>(Topic<V> topic, String table, List<Column<V>> columns, boolean deletable) {

    /** SQL types, each with the array it travels in and how an element becomes the column's value. */
    enum Type {
        TEXT("text", ""),
        UUID("text", "::uuid"),
        JSON("text", "::jsonb"),
        INT("int4", ""),
        DOUBLE("float8", ""),
        BOOL("bool", ""),
        /** Milliseconds since the epoch. */
        TIME("int8", "");

        private final String element;
        private final String cast;

        Type(String element, String cast) {
            this.element = element;
            this.cast = cast;
        }

        /** Type of the array's elements, as PostgreSQL names it. */
        String element() {
            return element;
        }

        private String value(String column) {
            // a double holds milliseconds of our centuries exactly enough: to_timestamp rounds to microseconds
            return this == TIME ? "to_timestamp(" + column + "::float8 / 1000)" : column + cast;
        }

        @Nullable
        Object[] array(int size) {
            return switch (this) {
                case TEXT, UUID, JSON -> new String[size];
                case INT -> new Integer[size];
                case DOUBLE -> new Double[size];
                case BOOL -> new Boolean[size];
                case TIME -> new Long[size];
            };
        }
    }

    /** Part of a column in the row's identity. */
    enum Role {
        KEY,
        /** In the key, and the table is partitioned by its month. */
        MONTH,
        VALUE
    }

    /** A column. */
    record Column<V>(String name, Type type, Role role, Function<V, @Nullable Object> value) {}

    /** Months outside are nonsense, and each would cost a partition. */
    private static final YearMonth FIRST_MONTH = YearMonth.of(2020, 1);

    private static final YearMonth LAST_MONTH = YearMonth.of(2099, 12);

    /**
     * The row of a value, in the order of the columns.
     *
     * @throws UndecodableException when the value cannot be a row: no id, or a time that is none
     */
    List<@Nullable Object> row(V value) {
        List<@Nullable Object> row = new ArrayList<>(columns.size());
        for (Column<V> column : columns) {
            Object cell = column.value().apply(value);
            if (column.role() != Role.VALUE && cell == null) {
                throw new UndecodableException(table + "." + column.name() + " is missing");
            }
            row.add(cell instanceof String text ? PlainJson.withoutNul(text) : cell);
        }
        monthOf(row).ifPresent(Projection::check);
        return row;
    }

    /** What makes a row the same row. */
    List<@Nullable Object> keyOf(List<@Nullable Object> row) {
        return IntStream.range(0, row.size())
                .filter(i -> columns.get(i).role() == Role.KEY)
                .<@Nullable Object>mapToObj(row::get)
                .toList();
    }

    /** The month, UTC, whose partition holds the row; empty for tables without partitions. */
    Optional<YearMonth> monthOf(List<@Nullable Object> row) {
        OptionalInt month = IntStream.range(0, row.size())
                .filter(i -> columns.get(i).role() == Role.MONTH)
                .findFirst();
        if (month.isEmpty() || !(row.get(month.getAsInt()) instanceof Long millis)) {
            return Optional.empty();
        }
        return Optional.of(YearMonth.from(Instant.ofEpochMilli(millis).atOffset(ZoneOffset.UTC)));
    }

    private static void check(YearMonth month) {
        if (month.isBefore(FIRST_MONTH) || month.isAfter(LAST_MONTH)) {
            throw new UndecodableException("a time in " + month + " is not believed");
        }
    }

    /** The statement that writes a batch; its parameters are the columns' arrays. */
    String upsert() {
        String names = columns.stream().map(Column::name).collect(Collectors.joining(", "));
        return "INSERT INTO " + table + " (" + names + ") SELECT "
                + columns.stream()
                        .map(column -> column.type().value(column.name()))
                        .collect(Collectors.joining(", "))
                + " FROM unnest("
                + columns.stream()
                        .map(column -> "?::" + column.type().element() + "[]")
                        .collect(Collectors.joining(", "))
                + ") AS batch (" + names + ") ON CONFLICT ("
                + columns.stream()
                        .filter(column -> column.role() != Role.VALUE)
                        .map(Column::name)
                        .collect(Collectors.joining(", "))
                + ") DO UPDATE SET "
                + columns.stream()
                        .filter(column -> column.role() == Role.VALUE)
                        .map(column -> column.name() + " = excluded." + column.name())
                        .collect(Collectors.joining(", "));
    }

    /** The statement that deletes rows; its parameter is the array of their keys. */
    String delete() {
        return "DELETE FROM " + table + " WHERE " + columns.getFirst().name() + " = ANY (?::text[])";
    }

    static <V extends SpecificRecord> Builder<V> of(Topic<V> topic, String table) {
        return new Builder<>(topic, table);
    }

    /** Collects columns, in order. */
    static final class Builder<V extends SpecificRecord> {
        private final Topic<V> topic;
        private final String table;
        private final List<Column<V>> columns = new ArrayList<>();

        private Builder(Topic<V> topic, String table) {
            this.topic = topic;
            this.table = table;
        }

        /** An id made by {@link Ids#next}, which is the key or its first part. */
        Builder<V> eventId(String name, Function<V, String> id) {
            return add(name, Type.UUID, Role.KEY, value -> checkedId(name, id.apply(value)));
        }

        /** The time in an id made by {@link Ids#next}: what the table is partitioned by. */
        Builder<V> month(String name, Function<V, String> id) {
            return add(name, Type.TIME, Role.MONTH, value -> Ids.millisOf(checkedId(name, id.apply(value))));
        }

        Builder<V> key(String name, Type type, Function<V, @Nullable Object> value) {
            return add(name, type, Role.KEY, value);
        }

        /** A reference to an interaction, or null where the text is empty or no id. */
        Builder<V> reference(String name, Function<V, String> id) {
            return add(name, Type.UUID, Role.VALUE, value -> Ids.isEventId(id.apply(value)) ? id.apply(value) : null);
        }

        Builder<V> text(String name, Function<V, @Nullable Object> value) {
            return add(name, Type.TEXT, Role.VALUE, value);
        }

        Builder<V> number(String name, Function<V, @Nullable Object> value) {
            return add(name, Type.DOUBLE, Role.VALUE, value);
        }

        Builder<V> integer(String name, Function<V, @Nullable Object> value) {
            return add(name, Type.INT, Role.VALUE, value);
        }

        Builder<V> truth(String name, Function<V, Boolean> value) {
            return add(name, Type.BOOL, Role.VALUE, value::apply);
        }

        /** A time in milliseconds. */
        Builder<V> time(String name, Function<V, Long> millis) {
            return add(name, Type.TIME, Role.VALUE, millis::apply);
        }

        /** A time in milliseconds; 0 is unknown and becomes null. */
        Builder<V> timeIfKnown(String name, Function<V, Long> millis) {
            return add(name, Type.TIME, Role.VALUE, value -> millis.apply(value) == 0 ? null : millis.apply(value));
        }

        Builder<V> map(String name, Function<V, Map<String, String>> value) {
            return add(name, Type.JSON, Role.VALUE, v -> PlainJson.of(value.apply(v)));
        }

        Builder<V> list(String name, Function<V, List<String>> value) {
            return add(name, Type.JSON, Role.VALUE, v -> PlainJson.of(value.apply(v)));
        }

        /** The whole value. */
        Builder<V> record() {
            return add("record", Type.JSON, Role.VALUE, PlainJson::of);
        }

        Projection<V> build() {
            return new Projection<>(topic, table, List.copyOf(columns), false);
        }

        /** A projection whose rows are deleted by tombstones; the first column is the record's key. */
        Projection<V> buildDeletable() {
            return new Projection<>(topic, table, List.copyOf(columns), true);
        }

        private Builder<V> add(String name, Type type, Role role, Function<V, @Nullable Object> value) {
            columns.add(new Column<>(name, type, role, value));
            return this;
        }

        private static String checkedId(String name, String id) {
            if (!Ids.isEventId(id)) {
                throw new UndecodableException(name + " is no UUIDv7: '" + id + "'");
            }
            return id;
        }
    }
}
