package io.millrace.standalone;

import static io.millrace.standalone.Live.JSON;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The running system with an embedding model on a server, which is changed, lost and found again. */
class EmbeddingModelIT {
    /** As OpenAI's small one has it: more than Lucene takes by itself. */
    private static final int DIMENSIONS = 1_536;

    private static final List<String> TEXTS = List.of(
            "A canal lock lifts barges between two levels of water.",
            "The quax of Penzlin is wound every morning.",
            "The mill grinds wheat with two stones.",
            "A sluice keeps the meadow dry in spring.");

    @TempDir
    Path folder;

    @Test
    void shouldEmbedEverythingAnewWhenTheModelChangesAndSearchForWordsWhileItIsAway() throws Exception {
        Path data = folder.resolve("data");
        try (Live live = Live.start(data, "")) {
            for (int i = 0; i < TEXTS.size(); i++) {
                live.add("it", i + ".md", TEXTS.get(i));
            }
        }
        int port;
        try (Model model = new Model(0)) {
            port = model.port();
            try (Live live = Live.start(data, config(port))) {
                // it alone knows that a blorf is a quax
                await(
                        "what is on the log has vectors of the new model",
                        () -> first(live, "blorf").equals("1.md"));
                await("all of it", () -> hits(live, "blorf").size() == TEXTS.size());
                assertThat(live.get("/health/detailed").body()).doesNotContain("embedded anew");
                live.add("it", "4.md", "A fleem is a wheel.");
                assertThat(hits(live, "blorf")).hasSize(TEXTS.size() + 1);
                // judged by the model that the score was fitted to, and not by these cosines of 0 and 1
                double known = search(live, "hybrid", "How does a canal lock lift barges?")
                        .path("context_score")
                        .asDouble();
                double unknown =
                        search(live, "hybrid", "blorf").path("context_score").asDouble();
                assertThat(known).isGreaterThan(0.7);
                assertThat(unknown).isLessThan(0.3);

                model.close();
                JsonNode words = search(live, "hybrid", "canal lock of today");
                assertThat(words.path("results").path(0).at("/payload/path").asText())
                        .isEqualTo("0.md");
                assertThat(words.path("degraded").toString()).contains("embedder");
                JsonNode query = JSON.readTree(live.post("/query", "{\"query\":\"Which quax is wound every day?\"}")
                        .body());
                assertThat(query.at("/results/combined_results")
                                .path(0)
                                .at("/payload/path")
                                .asText())
                        .as("%s", query)
                        .isEqualTo("1.md");
                HttpResponse<String> later = live.post(
                        "/documents",
                        "{\"project\":\"it\",\"relative_path\":\"5.md\",\"content\":\"A second quax stands in Waren.\"}");
                assertThat(later.statusCode()).isEqualTo(202);
                Thread.sleep(1_500);
                assertThat(search(live, "keyword", "Waren").path("results")).isEmpty();

                try (Model back = new Model(port)) {
                    await(
                            "what came meanwhile is embedded",
                            () -> search(live, "semantic", "blorf")
                                            .path("results")
                                            .findValuesAsText("path")
                                            .containsAll(List.of("1.md", "5.md"))
                                    && back.asked.get() > 0);
                }
            }
        }
        try (Live live = Live.start(data, "")) {
            for (int i = 0; i < TEXTS.size(); i++) {
                String path = i + ".md";
                String text = TEXTS.get(i);
                await(
                        "the first model has " + path + " again",
                        () -> first(live, text).equals(path));
            }
            assertThat(first(live, "boats rise in a chamber")).isEqualTo("0.md");
        }
    }

    /** One text that a model does not take held up all others for ever, or cost its document a batch and left the old text of it there. */
    @Test
    void shouldLoseOnlyThePassageThatTheModelBreaksAtWhenOthersAreBesideIt() throws Exception {
        Path data = folder.resolve("broken");
        try (Live live = Live.start(data, "")) {
            live.add("it", "long.md", sections("olden"));
        }
        try (Model model = new Model(0);
                Live live = Live.start(data, config(model.port()))) {
            await(
                    "the others are embedded anew",
                    () -> hits(live, "olden").size() == 10
                            && !live.get("/health/detailed").body().contains("embedded anew"));
            assertThat(search(live, "keyword", "grumpf").path("results")).isEmpty();
            assertThat(buried(live)).isEqualTo(1);

            live.post(
                    "/documents",
                    JSON.createObjectNode()
                            .put("project", "it")
                            .put("relative_path", "long.md")
                            .put("content", sections("newer"))
                            .toString());

            await(
                    "what comes after it is embedded",
                    () ->
                            !search(live, "keyword", "newer number39")
                                            .path("results")
                                            .findValuesAsText("content")
                                            .stream()
                                            .filter(text -> text.contains("number39") && text.contains("newer"))
                                            .toList()
                                            .isEmpty()
                                    && buried(live) == 2);
            await(
                    "nothing of the old text is left",
                    () -> search(live, "keyword", "olden").path("results").isEmpty());
            assertThat(search(live, "keyword", "grumpf").path("results")).isEmpty();
            assertThat(live.get("/health/detailed").body()).doesNotContain("\"ingest\"");
            live.add("it", "after.md", "A thing that comes after it.");
            assertThat(search(live, "keyword", "comes after").path("results")).isNotEmpty();
        }
    }

    /** It was indexing for ever, and whoever had added it waited for half an hour. */
    @Test
    void shouldSayWhichDocumentOfASourceTheModelTookNothingOf() throws Exception {
        Path docs = Files.createDirectories(folder.resolve("docs"));
        Files.writeString(docs.resolve("refused.md"), "It says grumpf and nothing else.");
        Files.writeString(docs.resolve("short.md"), "A thing that stands beside it.");
        Path data = Files.createDirectories(folder.resolve("data"));
        Files.writeString(
                data.resolve("knowledge-sources.yaml"),
                "sources:\n  - {id: notes, type: local_dir, collection: codebase-context, path: " + docs + "}\n");
        try (Model model = new Model(0);
                Live live = Live.start(data, config(model.port()))) {
            await(
                    "it does not wait for what will not come",
                    () -> live.source("notes").path("state").asText().equals("idle"));

            JsonNode source = live.source("notes");
            assertThat(source.at("/documents/total").asInt()).isEqualTo(2);
            assertThat(source.at("/documents/searchable").asInt()).isEqualTo(1);
            assertThat(source.path("failures").toString())
                    .contains("refused.md")
                    .doesNotContain("short.md");

            Files.writeString(docs.resolve("refused.md"), "It says nothing else now.");
            live.post("/sources/notes/sync", "");
            await(
                    "all is well",
                    () -> live.source("notes").path("failures").isEmpty()
                            && live.source("notes").at("/documents/searchable").asInt() == 2);
        }
    }

    /** More than two batches; the model breaks at a word in the second. */
    private static String sections(String word) {
        return IntStream.range(0, 70)
                .mapToObj(i -> "## Section " + i + "\n\nThe " + word + " text is number" + i + "."
                        + (i == 35 ? " It says grumpf." : ""))
                .collect(Collectors.joining("\n\n"));
    }

    private static int buried(Live live) throws Exception {
        return live.get("/metrics")
                .body()
                .lines()
                .filter(line -> line.startsWith("millrace_dead_letters_total") && line.contains("step=\"passages\""))
                .mapToInt(line -> (int) Double.parseDouble(line.substring(line.lastIndexOf(' ') + 1)))
                .sum();
    }

    /** Models that were trained so find less without. */
    @Test
    void shouldEmbedAllAnewWithThePrefixOfItsRoleWhenPrefixesAreSet() throws Exception {
        Path data = folder.resolve("data");
        String question = "Which quax is wound every day?";
        String asked = "{\"query\":\"" + question + "\"}";
        try (Model model = new Model(0)) {
            try (Live live = Live.start(data, config(model.port()))) {
                live.add("it", "1.md", TEXTS.get(1));
                assertThat(live.post("/query", asked).body()).contains("1.md");
                assertThat(model.seen).contains(question).anyMatch(text -> text.endsWith(TEXTS.get(1)));
            }
            model.seen.clear();
            String prefixes = ", embedding-query-prefix: 'ask: ', embedding-passage-prefix: 'read: '}\n";
            try (Live live = Live.start(data, config(model.port()).replace("}\n", prefixes))) {
                await(
                        "the passage has a vector of its prefix",
                        () -> live.post("/query", asked).body().contains("1.md")
                                && hits(live, "blorf").contains("1.md"));
                live.add("it", "2.md", TEXTS.get(2));

                assertThat(model.seen)
                        // not from the cache, where its vector of no prefix is
                        .contains("ask: " + question)
                        .anyMatch(text -> text.startsWith("read: ") && text.endsWith(TEXTS.get(1)))
                        .anyMatch(text -> text.startsWith("read: ") && text.endsWith(TEXTS.get(2)))
                        .allMatch(text -> text.startsWith("read: ")
                                ? TEXTS.stream().anyMatch(text::contains)
                                : text.startsWith("ask: "));
                model.seen.clear();
                HttpResponse<String> plain =
                        live.post("/v1/embeddings", "{\"model\":\"concepts\",\"input\":\"as it is\"}");
                assertThat(plain.statusCode()).as(plain.body()).isEqualTo(200);
                assertThat(JSON.readTree(plain.body()).at("/data/0/embedding")).hasSize(DIMENSIONS);
                assertThat(model.seen).containsExactly("as it is");

                model.close();
                HttpResponse<String> away =
                        live.post("/v1/embeddings", "{\"model\":\"concepts\",\"input\":\"as it is\"}");
                assertThat(away.statusCode()).as(away.body()).isEqualTo(503);
                assertThat(away.headers().firstValue("Retry-After")).isPresent();
            }
        }
    }

    private static String config(int port) {
        return "retrieval:\n  timeout: 20s\nknowledge: {embedding-url: \"http://127.0.0.1:" + port
                + "/v1/embeddings\", embedding-model: concepts, embedding-dimensions: " + DIMENSIONS + "}\n";
    }

    private static void await(String what, java.util.concurrent.Callable<Boolean> condition) {
        // a search that was refused meanwhile is asked again
        Awaitility.await(what)
                .atMost(Duration.ofSeconds(60))
                .ignoreExceptions()
                .untilAsserted(() -> assertThat(condition.call()).isTrue());
    }

    private static JsonNode search(Live live, String mode, String query) throws Exception {
        return live.search(JSON.createObjectNode()
                .put("query", query)
                .put("mode", mode)
                .put("limit", 10)
                .set("collections", JSON.createArrayNode().add("codebase-context"))
                .toString());
    }

    private static List<String> hits(Live live, String query) throws Exception {
        return search(live, "semantic", query).path("results").findValuesAsText("path");
    }

    private static String first(Live live, String query) throws Exception {
        return search(live, "semantic", query)
                .path("results")
                .path(0)
                .at("/payload/path")
                .asText();
    }

    /** A place for each word, one for the two that mean the same; in OpenAI's contract. */
    private static final class Model implements AutoCloseable {
        private final HttpServer server;
        private final AtomicInteger asked = new AtomicInteger();
        private final List<String> seen = new CopyOnWriteArrayList<>();

        Model(int port) throws IOException {
            server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
            server.setExecutor(Executors.newVirtualThreadPerTaskExecutor());
            server.createContext("/v1/embeddings", exchange -> {
                asked.incrementAndGet();
                JsonNode texts =
                        JSON.readTree(exchange.getRequestBody().readAllBytes()).path("input");
                if (texts.toString().contains("grumpf")) {
                    // as llama.cpp's server does with a whole request for one text that is too long
                    exchange.sendResponseHeaders(500, -1);
                    exchange.close();
                    return;
                }
                texts.forEach(text -> seen.add(text.asText()));
                ArrayNode data = JSON.createArrayNode();
                for (int i = 0; i < texts.size(); i++) {
                    ArrayNode vector = JSON.createArrayNode();
                    for (float each : vector(texts.path(i).asText())) {
                        vector.add(each);
                    }
                    data.addObject().put("index", i).set("embedding", vector);
                }
                byte[] body = JSON.writeValueAsBytes(JSON.createObjectNode().set("data", data));
                exchange.sendResponseHeaders(200, body.length);
                exchange.getResponseBody().write(body);
                exchange.close();
            });
            server.start();
        }

        private static float[] vector(String text) {
            float[] sum = new float[DIMENSIONS];
            for (String word :
                    text.toLowerCase(Locale.ROOT).replace("blorf", "quax").split("\\W+", -1)) {
                sum[new Random(word.hashCode()).nextInt(DIMENSIONS)] += word.equals("quax") ? 5 : 1;
            }
            return sum;
        }

        int port() {
            return server.getAddress().getPort();
        }

        @Override
        public void close() {
            server.stop(0);
        }
    }
}
