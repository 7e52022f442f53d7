package io.millrace.learners.evaluation;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.MalformedInputException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import java.util.zip.GZIPInputStream;
import org.jspecify.annotations.Nullable;

/**
 * A test collection in the layout of BEIR (Thakur et al. 2021): {@code corpus.jsonl} with {@code _id}, {@code title}, {@code text};
 * {@code queries.jsonl} with {@code _id}, {@code text}; {@code qrels/<split>.tsv} with query id, document id and grade, with or without
 * a line of names above them, or in TREC's four columns. Each may be compressed ({@code .gz}), as published collections are.
 *
 * @param documents in file order
 * @param queries text by id; only those with at least one relevant document
 * @param judgements grade by document by query; grades above 0 are gains, others mean not relevant
 * @param absent relevant documents that the corpus does not have: they cannot be found and count all the same, as in trec_eval
 */
public record BeirDataset(
        List<Document> documents,
        Map<String, String> queries,
        Map<String, Map<String, Double>> judgements,
        int absent) {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Pattern TABS = Pattern.compile("\t");
    private static final Pattern SPACES = Pattern.compile("\\s+");

    public BeirDataset {
        documents = List.copyOf(documents);
    }

    /** A document of the corpus. */
    public record Document(String id, String title, String text) {}

    /** A file that is not what it should be; the message begins with file:line. */
    public static final class DataException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        DataException(Path file, int line, String message) {
            super(file + (line == 0 ? "" : ":" + line) + ": " + message);
        }
    }

    /**
     * Reads a folder.
     *
     * @param split name of the file of judgements: test, dev, train
     * @throws DataException when a file is missing or a line is wrong
     */
    public static BeirDataset read(Path folder, String split) {
        Map<String, Document> documents = new LinkedHashMap<>();
        Path corpus = found(folder.resolve("corpus.jsonl"));
        lines(corpus, (line, number) -> {
            JsonNode node = object(corpus, number, line);
            Document document = document(corpus, number, node);
            Document other = documents.putIfAbsent(document.id, document);
            if (other != null && !other.equals(document)) {
                throw new DataException(corpus, number, "_id " + document.id + " was there before with another text");
            }
        });
        Path asked = found(folder.resolve("queries.jsonl"));
        Map<String, String> texts = new LinkedHashMap<>();
        lines(asked, (line, number) -> {
            JsonNode node = object(asked, number, line);
            String id = id(asked, number, node);
            String text = field(asked, number, node, "text");
            String other = texts.putIfAbsent(id, text);
            if (other != null && !other.equals(text)) {
                throw new DataException(asked, number, "_id " + id + " was there before with another text");
            }
        });
        Path judged = judged(folder.resolve("qrels"), split);
        Map<String, Map<String, Double>> judgements = new LinkedHashMap<>();
        lines(judged, (line, number) -> {
            Judgement judgement = judgement(judged, number, line);
            if (judgement == null) {
                return;
            }
            if (!texts.containsKey(judgement.query)) {
                throw new DataException(
                        judged, number, "query-id " + judgement.query + " is not in " + asked.getFileName());
            }
            Double other = judgements
                    .computeIfAbsent(judgement.query, id -> new LinkedHashMap<>())
                    .put(judgement.document, judgement.grade);
            if (other != null && other != judgement.grade) {
                throw new DataException(
                        judged,
                        number,
                        "query-id " + judgement.query + " and corpus-id " + judgement.document
                                + " had another score before");
            }
        });
        judgements.values().removeIf(grades -> grades.values().stream().noneMatch(grade -> grade > 0));
        texts.keySet().retainAll(judgements.keySet());
        if (documents.isEmpty()) {
            throw new DataException(corpus, 0, "holds no document");
        }
        if (texts.isEmpty()) {
            throw new DataException(judged, 0, "judges no document as relevant to a query");
        }
        List<String> relevant = judgements.values().stream()
                .flatMap(grades -> grades.entrySet().stream())
                .filter(grade -> grade.getValue() > 0)
                .map(Map.Entry::getKey)
                .toList();
        List<String> absent =
                relevant.stream().filter(id -> !documents.containsKey(id)).toList();
        // published collections lack a few of what they judge; one that lacks all of it has the judgements of another
        if (absent.size() == relevant.size()) {
            throw new DataException(
                    judged,
                    0,
                    "no relevant document, such as " + absent.getFirst() + ", is in " + corpus.getFileName());
        }
        return new BeirDataset(List.copyOf(documents.values()), texts, judgements, absent.size());
    }

    /**
     * A ranking without the document that is the query itself: one with the query's id that nobody judged. In ArguAna and Quora the queries
     * are documents, and each would be its own best answer; BEIR leaves them out the same way. Where both are merely numbered, a document
     * that was judged for the query of its number is another one and stays.
     */
    List<String> withoutItself(String query, List<String> ranked) {
        return judgements.getOrDefault(query, Map.of()).containsKey(query)
                ? ranked
                : ranked.stream().filter(document -> !document.equals(query)).toList();
    }

    /** The file, or the compressed one in its place. */
    private static Path found(Path file) {
        Path compressed = file.resolveSibling(file.getFileName() + ".gz");
        return !Files.exists(file) && Files.exists(compressed) ? compressed : file;
    }

    private static Path judged(Path folder, String split) {
        Path file = found(folder.resolve(split + ".tsv"));
        if (Files.exists(file) || !Files.isDirectory(folder)) {
            return file;
        }
        try (Stream<Path> files = Files.list(folder)) {
            List<String> splits = files.map(each -> each.getFileName().toString())
                    .filter(name -> name.endsWith(".tsv") || name.endsWith(".tsv.gz"))
                    .map(name -> name.substring(0, name.indexOf(".tsv")))
                    .sorted()
                    .toList();
            throw new DataException(
                    file, 0, "is not there" + (splits.isEmpty() ? "" : "; there are " + String.join(", ", splits)));
        } catch (IOException e) {
            throw new DataException(folder, 0, "cannot be read: " + e.getMessage());
        }
    }

    private static BufferedReader open(Path file) throws IOException {
        InputStream bytes = Files.newInputStream(file);
        try {
            InputStream plain = file.toString().endsWith(".gz") ? new GZIPInputStream(bytes) : bytes;
            return new BufferedReader(new InputStreamReader(plain, StandardCharsets.UTF_8.newDecoder()));
        } catch (IOException e) {
            bytes.close();
            throw e;
        }
    }

    private interface LineReader {
        void read(String line, int number);
    }

    private static void lines(Path file, LineReader reader) {
        int number = 0;
        try (BufferedReader lines = open(file)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                number++;
                // some editors put a byte order mark before the first line
                String read = number == 1 && line.startsWith("\uFEFF") ? line.substring(1) : line;
                if (!read.isBlank()) {
                    reader.read(read, number);
                }
            }
        } catch (NoSuchFileException e) {
            throw new DataException(file, 0, "is not there");
        } catch (MalformedInputException e) {
            throw new DataException(file, number + 1, "is not UTF-8 from about here on");
        } catch (IOException e) {
            throw new DataException(file, number, "cannot be read: " + e.getMessage());
        }
    }

    private record Judgement(String query, String document, double grade) {}

    /** Of BEIR's three columns, or of TREC's four: query, 0, document, grade. Nothing for a line of names at the top. */
    private static @Nullable Judgement judgement(Path file, int number, String line) {
        String[] columns = (line.indexOf('\t') >= 0 ? TABS : SPACES).split(line.strip(), -1);
        if (columns.length != 3 && columns.length != 4) {
            throw new DataException(
                    file, number, "has " + columns.length + " columns and not query-id, corpus-id, score");
        }
        String score = columns[columns.length - 1].strip();
        try {
            return new Judgement(columns[0].strip(), columns[columns.length - 2].strip(), Double.parseDouble(score));
        } catch (NumberFormatException e) {
            if (number == 1 && !score.isEmpty() && Character.isLetter(score.charAt(0)) && isName(columns[0])) {
                return null;
            }
            throw new DataException(file, number, "score " + score + " is not a number");
        }
    }

    private static boolean isName(String column) {
        return column.toLowerCase(Locale.ROOT).startsWith("query") || column.equalsIgnoreCase("qid");
    }

    /** With a title, a text or both: many abstracts are missing, and a few titles. */
    private static Document document(Path file, int number, JsonNode node) {
        String id = id(file, number, node);
        String title = optional(file, number, node, "title");
        boolean hasTitle = node.path("title").isTextual();
        String text = hasTitle ? optional(file, number, node, "text") : field(file, number, node, "text");
        return new Document(id, title, text);
    }

    private static JsonNode object(Path file, int number, String line) {
        try {
            JsonNode node = JSON.readTree(line);
            if (!node.isObject()) {
                throw new DataException(file, number, "is not a JSON object");
            }
            return node;
        } catch (JsonProcessingException e) {
            throw new DataException(file, number, "is not JSON: " + e.getOriginalMessage());
        }
    }

    private static String id(Path file, int number, JsonNode node) {
        JsonNode id = node.path("_id");
        if (!id.isTextual() && !id.isIntegralNumber()) {
            throw new DataException(file, number, "has no _id");
        }
        return id.asText();
    }

    private static String field(Path file, int number, JsonNode node, String name) {
        if (!node.path(name).isTextual()) {
            throw new DataException(file, number, name + " is missing or not a string");
        }
        return node.path(name).textValue();
    }

    private static String optional(Path file, int number, JsonNode node, String name) {
        JsonNode value = node.path(name);
        return value.isMissingNode() || value.isNull() ? "" : field(file, number, node, name);
    }
}
