package io.millrace.learners.evaluation;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.MalformedInputException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A test collection in the layout of BEIR (Thakur et al. 2021): {@code corpus.jsonl} with {@code _id}, {@code title}, {@code text};
 * {@code queries.jsonl} with {@code _id}, {@code text}; {@code qrels/<split>.tsv} with query id, document id and grade, with or without
 * a line of names above them, or in TREC's four columns.
 *
 * @param documents in file order
 * @param queries text by id; only those with at least one relevant document
 * @param judgements grade by document by query; grades above 0 are gains, others mean not relevant
 */
public record BeirDataset(
        List<Document> documents, Map<String, String> queries, Map<String, Map<String, Double>> judgements) {
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
        List<Document> documents = new ArrayList<>();
        Set<String> ids = new HashSet<>();
        Path corpus = folder.resolve("corpus.jsonl");
        lines(corpus, (line, number) -> {
            JsonNode node = object(corpus, number, line);
            String id = id(corpus, number, node);
            if (!ids.add(id)) {
                throw new DataException(corpus, number, "_id " + id + " was there before");
            }
            documents.add(
                    new Document(id, optional(corpus, number, node, "title"), field(corpus, number, node, "text")));
        });
        Path asked = folder.resolve("queries.jsonl");
        Map<String, String> texts = new LinkedHashMap<>();
        lines(asked, (line, number) -> {
            JsonNode node = object(asked, number, line);
            String id = id(asked, number, node);
            if (texts.put(id, field(asked, number, node, "text")) != null) {
                throw new DataException(asked, number, "_id " + id + " was there before");
            }
        });
        Path judged = folder.resolve("qrels").resolve(split + ".tsv");
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
            // one that is not there cannot be found, and its absence from a ranking means nothing only when it is not
            // relevant
            if (!ids.contains(judgement.document) && judgement.grade > 0) {
                throw new DataException(
                        judged, number, "corpus-id " + judgement.document + " is not in " + corpus.getFileName());
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
        return new BeirDataset(documents, texts, judgements);
    }

    private interface LineReader {
        void read(String line, int number);
    }

    private static void lines(Path file, LineReader reader) {
        int number = 0;
        try (BufferedReader lines = Files.newBufferedReader(file)) {
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
