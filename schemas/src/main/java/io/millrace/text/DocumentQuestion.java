package io.millrace.text;

import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeParseException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A question about documents' metadata, in a small part of SQL's words:
 * {@code SELECT path, title FROM documents WHERE language = 'nix' AND size > 1000 ORDER BY modified_at DESC LIMIT 5}.
 *
 * <p>It is read into this record and never handed on as text: names come from a fixed list, values become parameters, and what is not
 * in the grammar is refused.
 *
 * @param fields asked for, in order; empty for a count
 * @param conditions all of which hold
 * @param limit most rows; 0 when none was given
 */
public record DocumentQuestion(List<String> fields, List<Condition> conditions, Optional<Order> order, int limit) {
    /** What may be asked, and of which kind it is. */
    public static final Map<String, Kind> FIELDS = Map.ofEntries(
            Map.entry("document_id", Kind.TEXT),
            Map.entry("source", Kind.TEXT),
            Map.entry("path", Kind.TEXT),
            Map.entry("title", Kind.TEXT),
            Map.entry("collection", Kind.TEXT),
            Map.entry("trust", Kind.TEXT),
            Map.entry("language", Kind.TEXT),
            Map.entry("version", Kind.TEXT),
            Map.entry("framework", Kind.TEXT),
            Map.entry("category", Kind.TEXT),
            Map.entry("tags", Kind.TAGS),
            Map.entry("size", Kind.NUMBER),
            Map.entry("success_rate", Kind.NUMBER),
            Map.entry("modified_at", Kind.TIME),
            Map.entry("updated_at", Kind.TIME));

    /** What {@code *} stands for. */
    private static final List<String> USUAL =
            List.of("path", "title", "collection", "source", "trust", "tags", "size", "modified_at");

    private static final int MOST = 100;
    private static final String START = "select";
    private static final Pattern TOKEN = Pattern.compile(
            "\\s*(?:'((?:[^']++|'')*+)'|(-?\\d+(?:\\.\\d+)?)|([A-Za-z_][A-Za-z0-9_]*)|(<=|>=|<>|!=|[=<>(),*;]))");

    /** Kinds of fields. */
    public enum Kind {
        TEXT,
        NUMBER,
        /** ISO 8601, a date or a moment. */
        TIME,
        /** A list; {@code =} asks whether it holds the value. */
        TAGS
    }

    /**
     * @param operator one of = != &lt; &lt;= &gt; &gt;= like
     * @param value as it was written, without quotes
     */
    public record Condition(String field, String operator, String value) {
        /**
         * The value of a condition on a {@link Kind#TIME}: a date is its first moment in UTC.
         *
         * @throws java.time.format.DateTimeParseException when the calendar has no such time
         */
        public OffsetDateTime time() {
            return value.contains("T")
                    ? OffsetDateTime.parse(value)
                    : LocalDate.parse(value).atStartOfDay().atOffset(ZoneOffset.UTC);
        }
    }

    /** The order of rows. */
    public record Order(String field, boolean descending) {}

    public DocumentQuestion {
        fields = List.copyOf(fields);
        conditions = List.copyOf(conditions);
    }

    /** What is wrong with a question, for a person. */
    public static final class QuestionException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        public QuestionException(String message) {
            super(message);
        }

        QuestionException(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** Reads a question where the text is one; that it begins like one is not enough, since English sentences do and so does other SQL. */
    public static Optional<DocumentQuestion> tryParse(String text) {
        // nearly all others are told by their first word
        if (!text.stripLeading().regionMatches(true, 0, START, 0, START.length())) {
            return Optional.empty();
        }
        try {
            return Optional.of(parse(text));
        } catch (QuestionException e) {
            return Optional.empty();
        }
    }

    /**
     * Reads a question.
     *
     * @throws QuestionException when it is none; the message names what is wrong
     */
    public static DocumentQuestion parse(String text) {
        return new Parser(text).question();
    }

    private static final class Parser {
        private record Token(String text, boolean isName, boolean isValue) {}

        private final List<Token> tokens = new ArrayList<>();
        private int at;

        Parser(String text) {
            Matcher matcher = TOKEN.matcher(text);
            int from = 0;
            int end = text.stripTrailing().length();
            while (from < end) {
                if (!matcher.region(from, text.length()).lookingAt()) {
                    String rest = text.substring(from).strip();
                    throw new QuestionException("what is meant by "
                            + (rest.length() > 20 ? rest.substring(0, 20) + "…" : rest)
                            + " is not clear: texts stand in single quotes");
                }
                String quoted = matcher.group(1);
                String number = matcher.group(2);
                String name = matcher.group(3);
                if (quoted != null) {
                    tokens.add(new Token(quoted.replace("''", "'"), false, true));
                } else if (number != null) {
                    tokens.add(new Token(number, false, true));
                } else if (name != null) {
                    tokens.add(new Token(name.toLowerCase(Locale.ROOT), true, false));
                } else {
                    tokens.add(new Token(String.valueOf(matcher.group(4)), false, false));
                }
                from = matcher.end();
            }
        }

        DocumentQuestion question() {
            expect(START);
            List<String> fields = fields();
            expect("from");
            expect("documents");
            List<Condition> conditions = new ArrayList<>();
            if (accept("where")) {
                do {
                    conditions.add(condition());
                } while (accept("and"));
            }
            Optional<Order> order = Optional.empty();
            if (accept("order")) {
                expect("by");
                String field = field();
                boolean descending = accept("desc");
                if (!descending) {
                    accept("asc");
                }
                order = Optional.of(new Order(field, descending));
            }
            int limit = 0;
            if (accept("limit")) {
                String number = value();
                if (!number.matches("\\d{1,3}") || Integer.parseInt(number) < 1 || Integer.parseInt(number) > MOST) {
                    throw new QuestionException("limit must be 1 to " + MOST);
                }
                limit = Integer.parseInt(number);
            }
            accept(";");
            if (at < tokens.size()) {
                throw new QuestionException("nothing may follow; there is " + peek()
                        + ". The form is SELECT … FROM documents WHERE … AND … ORDER BY … LIMIT …");
            }
            return new DocumentQuestion(fields, conditions, order, limit);
        }

        private List<String> fields() {
            if (accept("count")) {
                expect("(");
                expect("*");
                expect(")");
                return List.of();
            }
            if (accept("*")) {
                return USUAL;
            }
            List<String> fields = new ArrayList<>();
            do {
                fields.add(field());
            } while (accept(","));
            return fields;
        }

        private Condition condition() {
            String field = field();
            Kind kind = java.util.Objects.requireNonNull(FIELDS.get(field));
            String operator = peek().equals("<>") ? "!=" : peek();
            List<String> possible = switch (kind) {
                case TEXT -> List.of("=", "!=", "like");
                case TAGS -> List.of("=", "!=");
                case NUMBER, TIME -> List.of("=", "!=", "<", "<=", ">", ">=");
            };
            if (!possible.contains(operator)) {
                throw new QuestionException(field + " is compared by " + String.join(" ", possible) + ", not "
                        + (operator.isEmpty() ? "by nothing" : operator));
            }
            at++;
            String value = value();
            if (kind == Kind.NUMBER && !value.matches("-?\\d{1,15}(\\.\\d{1,15})?")) {
                throw new QuestionException(field + " is a number, " + value + " is none");
            }
            if (kind == Kind.TIME && !value.matches("\\d{4}-\\d\\d-\\d\\d(T\\d\\d:\\d\\d(:\\d\\d(\\.\\d{1,9})?)?Z)?")) {
                throw new QuestionException(field + " is a time such as '2026-01-31' or '2026-01-31T12:00:00Z'");
            }
            Condition condition = new Condition(field, operator, value);
            if (kind == Kind.TIME) {
                try {
                    condition.time();
                } catch (DateTimeParseException e) {
                    throw new QuestionException(field + ": there is no time " + value, e);
                }
            }
            if (operator.equals("like") && endsInOpenEscape(value)) {
                throw new QuestionException(
                        field + " like: a \\ at the end is written \\\\, since it takes what follows it as it stands");
            }
            return condition;
        }

        private static boolean endsInOpenEscape(String pattern) {
            int from = pattern.length();
            while (from > 0 && pattern.charAt(from - 1) == '\\') {
                from--;
            }
            return (pattern.length() - from) % 2 == 1;
        }

        private String field() {
            if (at >= tokens.size() || !tokens.get(at).isName) {
                throw new QuestionException("a field is missing before " + (peek().isEmpty() ? "the end" : peek()));
            }
            String name = tokens.get(at++).text;
            if (!FIELDS.containsKey(name)) {
                throw new QuestionException("there is no field " + name + "; there are "
                        + String.join(", ", new TreeSet<>(FIELDS.keySet())));
            }
            return name;
        }

        private String value() {
            if (at >= tokens.size() || !tokens.get(at).isValue) {
                throw new QuestionException("a value is missing before " + (peek().isEmpty() ? "the end" : peek()));
            }
            return tokens.get(at++).text;
        }

        private String peek() {
            return at < tokens.size() ? tokens.get(at).text : "";
        }

        private boolean accept(String word) {
            if (at < tokens.size()
                    && !tokens.get(at).isValue
                    && tokens.get(at).text.equals(word)) {
                at++;
                return true;
            }
            return false;
        }

        private void expect(String word) {
            if (!accept(word)) {
                throw new QuestionException(word + " is missing"
                        + (peek().isEmpty() ? " at the end" : " before " + peek())
                        + ". The form is SELECT … FROM documents WHERE … AND … ORDER BY … LIMIT …");
            }
        }
    }
}
