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
import java.util.Map;
import java.util.Set;

/**
 * A test collection in the layout of BEIR (Thakur et al. 2021): {@code corpus.jsonl} with {@code _id}, {@code title}, {@code text};
 * {@code queries.jsonl} with {@code _id}, {@code text}; {@code qrels/<split>.tsv} with query id, document id and grade.
 *
 * @param documents in file order
 * @param queries text by id; only those with at least one relevant document
 * @param judgements grade by document by query; grades above 0 are gains, others mean not relevant
 */
public record BeirDataset(
        List<Document> documents, Map<String, String> queries, Map<String, Map<String, Double>> judgements) {
    private static final ObjectMapper JSON = new ObjectMapper();

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
            String title = node.path("title").asText("");
            String text = field(corpus, number, node, "text");
            documents.add(new Document(id, title, text));
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
            String[] columns = line.split("\t", -1);
            if (number == 1 && columns[0].equals("query-id")) {
                return;
            }
            if (columns.length != 3) {
                throw new DataException(
                        judged, number, "has " + columns.length + " columns and not query-id, corpus-id, score");
            }
            if (!texts.containsKey(columns[0])) {
                throw new DataException(judged, number, "query-id " + columns[0] + " is not in " + asked.getFileName());
            }
            if (!ids.contains(columns[1])) {
                throw new DataException(
                        judged, number, "corpus-id " + columns[1] + " is not in " + corpus.getFileName());
            }
            judgements
                    .computeIfAbsent(columns[0], id -> new LinkedHashMap<>())
                    .put(columns[1], grade(judged, number, columns[2]));
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
                if (!line.isBlank()) {
                    reader.read(line, number);
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

    private static double grade(Path file, int number, String text) {
        try {
            return Double.parseDouble(text.strip());
        } catch (NumberFormatException e) {
            throw new DataException(file, number, "score " + text + " is not a number");
        }
    }
}
