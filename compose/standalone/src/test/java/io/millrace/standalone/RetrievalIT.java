package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpServer;
import io.millrace.bench.stub.StubUpstream;
import io.millrace.config.ConfigLoader;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Retrieval through the running system: what a client finds, and what the log and Postgres say of how it was found. */
class RetrievalIT {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    @TempDir
    static Path folder;

    private static StubUpstream local;
    private static HttpServer cross;
    /** The word that the cross-encoder likes; empty: it is out of order. */
    private static volatile String liked = "";
    /** How the rewording model says it; empty: it is out of order. */
    private static volatile String reworded = "";

    private static volatile long rewordingMillis;

    private static Standalone standalone;

    @BeforeAll
    static void start() throws Exception {
        local = new StubUpstream("local", 8, 5).start(0);
        cross = crossEncoder();
        Path config = folder.resolve("millrace.yaml");
        Files.writeString(config, """
                routing: {deadline: 40s}
                dispatch: {probe: 100ms}
                cache: {variant-b: 0.5, timeout: 5s}
                retrieval: {context-tokens: 128, rerank-url: "http://127.0.0.1:%d/rerank", rerank-timeout: 5s,
                            timeout: 20s, expand-url: "http://127.0.0.1:%d/v1/chat/completions"}
                backends:
                  local:
                    kind: llama.cpp
                    deployments: [{name: local, url: "%s", timeout: 15s}]
                """.formatted(
                        cross.getAddress().getPort(), cross.getAddress().getPort(), local.url()));
        standalone = Standalone.start(
                ConfigLoader.load(Optional.of(config), Map.of(), Map.of("listen.port", "0")),
                folder.resolve("data"),
                List.of(),
                line -> {});
        document("lock.md", "# Canal lock", "A canal lock lifts barges between two levels of water.", """
                "collection":"best-practices","tags":["water","barge"],
                "metadata":{"language":"en","version":"2","success_rate":"0.9"}""");
        document("schleuse.md", "# Schleuse", "Eine Schleuse hebt Schiffe; a canal lock in German.", """
                "collection":"error-solutions","tags":["water"],
                "metadata":{"language":"de","version":"1","success_rate":"0.2"}""");
    }

    @AfterAll
    static void stop() {
        standalone.close();
        local.close();
        cross.stop(0);
    }

    @AfterEach
    void quiet() {
        liked = "";
        reworded = "";
        rewordingMillis = 0;
    }

    private static void pause(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"keyword", "semantic", "hybrid", "tree", "auto", "sql"})
    void shouldFilterByMetadataInEveryMode(String mode) throws Exception {
        String question = mode.equals("sql")
                ? "SELECT path FROM documents WHERE tags = 'water'"
                : "how does a canal lock lift barges";
        String ask = "\"query\":\"" + question + "\",\"mode\":\"" + mode + "\"";
        // the index has them already, Postgres soon
        await(() -> paths(search("{" + ask + "}")).size() >= 2);

        for (String filter : List.of(
                "\"language\":\"en\"",
                "\"version\":\"2\"",
                "\"tags\":[\"barge\",\"water\"]",
                "\"min_success_rate\":0.5",
                "\"source\":\"it\",\"language\":\"en\"")) {
            assertThat(paths(search("{" + ask + ",\"filters\":{" + filter + "}}")))
                    .as(mode + " " + filter)
                    .containsExactly("lock.md");
        }
        assertThat(paths(search("{" + ask + ",\"collections\":[\"error-solutions\"]}")))
                .containsExactly("schleuse.md");
        assertThat(paths(search("{" + ask + ",\"filters\":{\"language\":\"fr\"}}")))
                .isEmpty();
    }

    @Test
    void shouldAnswerQuestionsAboutDocumentsFromPostgres() throws Exception {
        await(() -> search("{\"mode\":\"sql\",\"query\":\"SELECT count(*) FROM documents WHERE tags = 'water'\"}")
                .at("/results/0/payload/content")
                .asText()
                .equals("count: 2"));

        JsonNode rows = search("{\"mode\":\"sql\",\"query\":\"SELECT path, success_rate FROM documents WHERE "
                + "success_rate > 0.5 AND title like 'canal%' ORDER BY modified_at DESC LIMIT 5\"}");
        assertThat(paths(rows)).containsExactly("lock.md");
        assertThat(rows.at("/results/0/payload/content").asText()).isEqualTo("path: lock.md\nsuccess_rate: 0.9");
        assertThat(rows.at("/results/0/unit").asText()).isEqualTo("row");
        assertThat(rows.at("/results/0/payload/project").asText()).isEqualTo("it");
        assertThat(paths(search("{\"mode\":\"sql\",\"query\":\"select path from documents where tags = 'barge' and "
                        + "updated_at >= '2020-01-31' and updated_at < '2999-12-31T23:59Z'\"}")))
                .containsExactly("lock.md");
        assertThat(paths(search("{\"mode\":\"sql\",\"query\":\"select * from documents where tags = 'water'\","
                        + "\"filters\":{\"language\":\"de\"}}")))
                .containsExactly("schleuse.md");
        // auto knows one by its form, and the answer through the log says so
        JsonNode answer = query("{\"query\":\"SELECT path FROM documents WHERE language = 'en'\"}");
        assertThat(answer.path("route").asText()).isEqualTo("sql");
        assertThat(answer.at("/results/sql_results/0/payload/path").asText()).isEqualTo("lock.md");
        assertThat(recorded(answer).at("/interaction/search/mode").asText()).isEqualTo("sql");
    }

    @Test
    void shouldSearchForASentenceThatOnlyLooksLikeAQuestionAboutDocuments() throws Exception {
        liked = "lock";
        String sentence = "{\"query\":\"Select what lifts barges from the notes on the canal lock\"}";

        JsonNode found = search(sentence.replace("}", ",\"mode\":\"auto\"}"));

        assertThat(paths(found)).contains("lock.md");
        assertThat(found.path("degraded")).isEmpty();
        JsonNode answer = query(sentence);
        assertThat(answer.path("route").asText()).isIn("hybrid", "tree");
        assertThat(paths(answer.path("results"), "combined_results")).contains("lock.md");
        assertThat(recorded(answer).at("/interaction/degraded")).isEmpty();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "{\"query\":\"x\",\"mode\":\"vibes\"}                             | mode",
                "{\"query\":\"x\",\"collections\":[\"nowhere\"]}                  | collections[0]",
                "{\"query\":\"x\",\"filters\":{\"colour\":\"red\"}}               | filters",
                "{\"query\":\"x\",\"filters\":{\"min_success_rate\":2}}           | filters.min_success_rate",
                "{\"query\":\"x\",\"diversity\":7}                                | diversity",
                "{\"query\":\"select secret from documents\",\"mode\":\"sql\"}    | query",
                "{\"query\":\"drop table documents\",\"mode\":\"sql\"}            | query",
                "{\"query\":\"SELECT path FROM documents WHERE modified_at > '2026-02-31'\",\"mode\":\"sql\"} | query",
                "{\"query\":\"SELECT path FROM documents WHERE path LIKE 'C:\\\\'\",\"mode\":\"sql\"} | query"
            })
    void shouldNameWhatIsWrong(String body, String field) throws Exception {
        HttpResponse<String> response = post("/search", body);

        assertThat(response.statusCode()).as(response.body()).isEqualTo(400);
        assertThat(JSON.readTree(response.body()).path("field").asText()).startsWith(field);
        assertThat(post("/query", body.replace(",\"diversity\":7", ",\"colour\":7"))
                        .statusCode())
                .isEqualTo(400);
    }

    @Test
    void shouldPutTheOlderOfTwoLast() throws Exception {
        // not quite the same: of the same text only one is found
        String text = "The heron ferry crosses at dawn and at dusk";
        document(
                "old.md",
                "# Heron ferry",
                text + ".",
                "\"metadata\":{\"ingested_at\":\"" + Instant.now().minus(Duration.ofDays(200)) + "\"}");
        document(
                "middle.md",
                "# Heron ferry",
                text + "…",
                "\"metadata\":{\"ingested_at\":\"" + Instant.now().minus(Duration.ofDays(100)) + "\"}");
        document("young.md", "# Heron ferry", text, "\"metadata\":{}");

        JsonNode found =
                search("{\"query\":\"When does the heron ferry cross the river?\",\"mode\":\"semantic\",\"limit\":3}");

        assertThat(paths(found)).containsExactly("young.md", "middle.md", "old.md");
        assertThat(found.at("/results/0/payload/factor").asDouble()).isEqualTo(1.0);
        assertThat(found.at("/results/1/payload/factor").asDouble()).isEqualTo(0.9);
        assertThat(found.at("/results/2/payload/factor").asDouble()).isEqualTo(0.75);
    }

    @Test
    void shouldRaiseWhatGoodFeedbackWasGivenTo() throws Exception {
        document("otter.md", "# Otter", "The otter holt lies under the third willow.", "\"metadata\":{}");
        String question = "{\"query\":\"Where does the otter holt lie?\",\"mode\":\"hybrid\",\"limit\":1}";
        assertThat(search(question).at("/results/0/payload/factor").asDouble()).isEqualTo(1.0);
        JsonNode answer = query(question);
        String id = answer.path("interaction_id").asText();
        recorded(answer);

        assertThat(post("/feedback/" + id, "{\"rating\":1}").statusCode()).isEqualTo(200);

        // liked, and used within a week
        await(() -> search(question).at("/results/0/payload/factor").asDouble() == 1.3 * 1.25);
    }

    @Test
    void shouldReadAroundHitsInTreeMode() throws Exception {
        StringBuilder text = new StringBuilder("Opening words about the quarry railway.\n\n");
        for (int i = 1; i <= 6; i++) {
            text.append("## Station ")
                    .append(i)
                    .append("\n\nAt station ")
                    .append(i)
                    .append(" trains load ")
                    .append(List.of("granite", "slate", "marble", "basalt", "sandstone", "gravel")
                            .get(i - 1))
                    .append(" for the coast.\n\n");
        }
        document("railway.md", "# Quarry railway", text.toString(), "\"metadata\":{}");

        JsonNode found =
                search("{\"query\":\"Where do trains load basalt for the coast?\",\"mode\":\"tree\",\"limit\":1}");

        assertThat(found.path("search_mode").asText()).isEqualTo("tree");
        assertThat(found.at("/results/0/payload/content").asText()).contains("basalt");
        List<String> relations = new ArrayList<>();
        StringBuilder around = new StringBuilder();
        found.path("results").forEach(item -> {
            relations.add(item.at("/payload/relation").asText("found"));
            around.append(item.at("/payload/content").asText());
        });
        assertThat(relations).containsExactlyInAnyOrder("found", "parent", "neighbour", "neighbour");
        assertThat(around).contains("Opening words").contains("marble").contains("sandstone");
    }

    @Test
    void shouldFitTheContextIntoHalfTheBudgetWhenTheHitsAreConvincing() throws Exception {
        document(
                "bees.md",
                "# Bees",
                "Bees of the mill.\n\n## Winter\n\nIn winter the bees cluster and eat what they stored."
                        + "\n\n## Summer\n\nIn summer the bees swarm, and somebody has to catch them with a basket and a long ladder."
                        + "\n\n## Spring\n\nIn spring the bees fly out to the willows as soon as the sun has warmed the boards.",
                "\"metadata\":{}");

        JsonNode answer = query("{\"query\":\"What do the bees eat in winter?\",\"generate_response\":true}");

        assertThat(answer.path("response").asText()).startsWith("local: ");
        assertThat(answer.at("/decision/context_score").asDouble()).isGreaterThan(0.70);
        assertThat(answer.at("/decision/context_added").asBoolean()).isTrue();
        JsonNode compression = answer.at("/results/context_compression");
        assertThat(compression.path("token_budget").asInt()).isEqualTo(64);
        assertThat(compression.path("tokens_before").asInt()).isGreaterThan(64);
        assertThat(compression.path("compressed_tokens").asInt()).isBetween(15, 64);
        assertThat(local.seen().getLast().body().encode()).contains("eat what they stored");
        JsonNode search = recorded(answer).at("/interaction/search");
        assertThat(search.path("rounds").asInt()).isEqualTo(1);
        assertThat(search.path("mode").asText()).isEqualTo("hybrid");
        assertThat(search.path("tokens_after").asInt())
                .isEqualTo(compression.path("compressed_tokens").asInt());
    }

    @Test
    void shouldReadMoreWhenTheFirstHitsAreNotConvincing() throws Exception {
        document(
                "lathe.md",
                "# Lathe",
                "The great lathe turns oak at four hundred turns a minute. "
                        + "Nobody knows who built the shed around it. ".repeat(18),
                "\"metadata\":{}");

        // planks are not in it: the score stays clear of the bar however many documents other tests add
        JsonNode answer =
                query("{\"query\":\"How fast does the great lathe turn planks of oak?\",\"generate_response\":true}");

        assertThat(answer.at("/decision/context_score").asDouble()).isBetween(0.35, 0.70);
        assertThat(answer.at("/results/rounds").asInt()).isEqualTo(2);
        assertThat(answer.at("/results/context_compression/token_budget").asInt())
                .isEqualTo(128);
        assertThat(answer.path("route").asText()).isEqualTo("tree");
        assertThat(local.seen().getLast().body().encode()).contains("four hundred turns a minute");
    }

    @Test
    void shouldLetTheCrossEncoderReorderAndDoWithoutItWhenItIsDown() throws Exception {
        document("kiln-a.md", "# Kiln", "The brick kiln burns for three days.", "\"metadata\":{}");
        document("kiln-b.md", "# Kiln", "The brick kiln burns for three days, says zebra.", "\"metadata\":{}");
        String question = "{\"query\":\"How long does the brick kiln burn?\",\"mode\":\"hybrid\",\"limit\":2}";
        JsonNode without = search(question);
        assertThat(without.path("degraded").get(0).asText()).isEqualTo("reranker");
        assertThat(paths(without)).containsExactly("kiln-a.md", "kiln-b.md");

        liked = "zebra";

        JsonNode with = search(question);
        assertThat(with.path("degraded")).isEmpty();
        assertThat(paths(with)).containsExactly("kiln-b.md", "kiln-a.md");
        assertThat(with.at("/results/0/unit").asText()).isEqualTo("relevance");
    }

    @Test
    void shouldFindInOtherWordsWhatTheQuestionsOwnDoNotFind() throws Exception {
        document(
                "sarcophagus.md",
                "# Weir",
                "The vexillary sluicegate dampens hydrological surges by means of counterweights.",
                "\"metadata\":{}");
        String question = "{\"query\":\"What keeps our cellar dry after heavy rain?\",\"generate_response\":true}";
        JsonNode without = query(question);
        assertThat(without.at("/decision/context_score").asDouble()).isLessThan(0.70);
        assertThat(without.at("/results/searched_for")).isEmpty();

        // one that is late is done without after 4 s
        rewordingMillis = 20_000;
        reworded = "late";
        long asked = System.nanoTime();
        JsonNode late = query(question.replace("heavy", "so heavy"));
        assertThat(Duration.ofNanos(System.nanoTime() - asked))
                .isBetween(Duration.ofSeconds(4), Duration.ofSeconds(15));
        assertThat(late.at("/results/searched_for")).isEmpty();
        assertThat(recorded(late).at("/interaction/degraded").toString()).contains("expander");
        rewordingMillis = 0;

        reworded = "1. vexillary sluicegate dampens hydrological surges\n2. counterweights of the sluicegate";
        JsonNode with = query(question.replace("rain?", "rains?"));

        assertThat(with.at("/results/searched_for/0").asText())
                .isEqualTo("vexillary sluicegate dampens hydrological surges");
        assertThat(paths(with.path("results"), "combined_results")).contains("sarcophagus.md");
        assertThat(recorded(with).at("/interaction/search/queries")).hasSize(2);
    }

    @Test
    void shouldAugmentAQuestionForAModelThatTheClientAsks() throws Exception {
        document("cooper.md", "# Cooper", "The cooper binds nine barrels a day with hazel hoops.", "\"metadata\":{}");

        JsonNode answer = post("/augment_query", "{\"query\":\"How many barrels does the cooper bind a day?\"}", 200);

        assertThat(answer.path("augmented_prompt").asText())
                .startsWith("Use these passages")
                .contains("nine barrels a day with hazel hoops")
                .endsWith("Question: How many barrels does the cooper bind a day?");
        assertThat(answer.path("context_count").asInt())
                .isEqualTo(answer.path("context_ids").size())
                .isPositive();
        assertThat(answer.path("token_count").asInt()).isPositive();
        JsonNode discovery = answer.path("capability_discovery");
        assertThat(discovery.path("decision").asText()).isEqualTo("used");
        assertThat(discovery.path("reason").asText()).isEqualTo("context_found");
        assertThat(discovery.at("/intent_tags/0").asText()).isEqualTo("synthesize");
        assertThat(discovery.at("/datasets/0/title").asText()).isEqualTo("Cooper");
        assertThat(discovery.at("/datasets/0/project").asText()).isEqualTo("it");
        // a search alone tells where its hits come from
        JsonNode found = query("{\"query\":\"What is it that the cooper binds a day?\"}");
        assertThat(found.at("/capability_discovery/decision").asText()).isEqualTo("used");
        assertThat(found.at("/capability_discovery/intent_tags/0").asText()).isEqualTo("lookup");
        assertThat(found.at("/capability_discovery/datasets").toString())
                .contains("{\"title\":\"Cooper\",\"project\":\"it\"}");
        assertThat(found.at("/results/combined_results/0/payload/project").asText())
                .isEqualTo("it");
        JsonNode recorded = recorded(answer);
        assertThat(recorded.at("/interaction/api").asText()).isEqualTo("augment");
        assertThat(recorded.at("/interaction/search/used/0").asText())
                .isEqualTo(answer.at("/context_ids/0").asText());
        JsonNode narrow = post(
                "/augment_query",
                "{\"query\":\"How many barrels does the cooper bind a day?\",\"limit\":1,\"max_tokens\":16}",
                200);
        assertThat(narrow.path("context_count").asInt()).isZero();
        assertThat(narrow.at("/capability_discovery/reason").asText()).isEqualTo("no_passage_fits");
        // nothing in the knowledge is near this
        JsonNode nothing = post("/augment_query", "{\"query\":\"zxqv 81723 lorem?\"}", 200);
        assertThat(nothing.path("context_count").asInt()).isZero();
        assertThat(nothing.at("/capability_discovery/reason").asText()).isEqualTo("no_convincing_context");
        assertThat(nothing.path("augmented_prompt").asText()).isEqualTo("zxqv 81723 lorem?");
    }

    @Test
    void shouldSendEachPassageOnceInASessionAndUnderstandFollowUps() throws Exception {
        document(
                "forge.md",
                "# Forge",
                "The forge of the upper mill heats iron with charcoal from alder.",
                "\"collection\":\"best-practices\",\"metadata\":{}");
        document(
                "forge-bellows.md",
                "# Forge bellows",
                "The bellows of the forge of the upper mill are driven by the water wheel.",
                "\"collection\":\"codebase-context\",\"metadata\":{}");

        JsonNode first = turn("What does the forge of the upper mill heat iron with?", "standard");
        assertThat(first.path("turn_number").asInt()).isEqualTo(1);
        assertThat(first.path("context").asText()).contains("charcoal from alder");
        assertThat(first.path("token_count").asInt()).isBetween(10, 2_000);
        assertThat(first.path("suggestions").toString()).contains("context_level detailed");

        JsonNode second = turn("And what drives its bellows?", "detailed");

        assertThat(second.path("turn_number").asInt()).isEqualTo(2);
        assertThat(second.at("/searched_for/0").asText())
                .isEqualTo("What does the forge of the upper mill heat iron with?\nAnd what drives its bellows?");
        assertThat(second.path("context").asText())
                .contains("driven by the water wheel")
                .doesNotContain("charcoal from alder");
        List<String> both = new ArrayList<>();
        first.path("context_ids").forEach(id -> both.add(id.asText()));
        second.path("context_ids").forEach(id -> both.add(id.asText()));
        assertThat(both).doesNotHaveDuplicates();
        JsonNode recorded = recorded(second);
        assertThat(recorded.at("/interaction/search/session_turn").asInt()).isEqualTo(2);
        assertThat(recorded.at("/interaction/api").asText()).isEqualTo("context");
        // a model that answers has forgotten what was said: /query of the same session is given the passage again
        JsonNode answer = query(
                "{\"query\":\"And again: what does the forge of the upper mill heat iron with?\",\"session_id\":\"s-1\",\"generate_response\":true}");
        assertThat(answer.at("/results/session_turn").asInt()).isEqualTo(3);
        assertThat(local.seen().getLast().body().encode()).contains("charcoal from alder");
    }

    /** The second time all that answers it was sent before; that is no gap in the knowledge. */
    @Test
    void shouldNotTakeForAGapWhatASessionWasSentBefore() throws Exception {
        document("cooper.md", "# Cooper", "The cooper of Plau bends his staves over steam.", "\"metadata\":{}");
        String question = "{\"session_id\":\"s-gap\",\"query\":\"What does the cooper of Plau bend his staves over?\"}";

        JsonNode first = post("/context/multi_turn", question, 200);
        assertThat(first.path("context").asText()).contains("over steam");
        JsonNode second = post("/context/multi_turn", question, 200);
        assertThat(second.path("context").asText()).doesNotContain("over steam");
        recorded(second);
        // gaps are counted in order: when this one is there, the one before it would be, too
        post("/context/multi_turn", "{\"session_id\":\"s-other\",\"query\":\"zyx wvu tsr qpo?\"}", 200);

        await(() -> gaps().contains("zyx wvu"));
        assertThat(gaps()).doesNotContain("cooper of Plau");
    }

    private static String gaps() throws Exception {
        return HTTP.send(
                        HttpRequest.newBuilder(URI.create(standalone.url() + "/gaps"))
                                .build(),
                        HttpResponse.BodyHandlers.ofString())
                .body();
    }

    /** A document that somebody posted under many projects left no room for what else there is to say. */
    @Test
    void shouldGiveTheSameTextOneSlotAndTakeItFromWhomIsTrustedMost() throws Exception {
        for (int i = 0; i < 6; i++) {
            document(
                    "sawyer.md",
                    "# Sawyer",
                    "The sawyer of Malchow saws oak with the gang saw.",
                    "\"project\":\"sawyers-" + i + "\",\"source_trust_level\":\"" + (i == 4 ? "trusted" : "imported")
                            + "\"");
        }
        document("saw.md", "# Gang saw", "The gang saw of Malchow has eleven blades.", "\"metadata\":{}");
        String question = "What does the sawyer of Malchow saw with the gang saw?";

        JsonNode found = search("{\"query\":\"" + question + "\",\"mode\":\"hybrid\",\"limit\":5}");

        assertThat(paths(found)).containsOnlyOnce("sawyer.md").contains("saw.md");
        assertThat(found.at("/results/0/payload/project").asText()).isEqualTo("sawyers-4");
        query("{\"query\":\"" + question + "\",\"generate_response\":true}");
        assertThat(local.seen().getLast().body().encode())
                .containsOnlyOnce("saws oak with the gang saw")
                .contains("eleven blades");
    }

    /** What was searched for is text of the query, too: kept without secrets, or not at all. */
    @Test
    void shouldKeepOfAFollowUpNoMoreThanOfItsQuestion() throws Exception {
        query("{\"query\":\"Who keeps the keys of the weirs?\",\"session_id\":\"s-keys\"}");

        JsonNode told = query("{\"query\":\"And is its password=hunter2hunter2?\",\"session_id\":\"s-keys\"}");
        assertThat(told.at("/results/searched_for/0").asText()).contains("keys of the weirs", "hunter2hunter2");
        JsonNode kept = recorded(told);
        assertThat(kept.at("/interaction/search/queries/0").asText()).contains("password=[REDACTED:password]");
        assertThat(kept.toString()).doesNotContain("hunter2hunter2");

        JsonNode secret = query("{\"query\":\"And is it the ninth weir?\",\"session_id\":\"s-keys\",\"store\":false}");
        assertThat(secret.at("/results/searched_for/0").asText()).contains("ninth weir");
        JsonNode nothing = recorded(secret);
        assertThat(nothing.at("/interaction/search").isObject()).isTrue();
        assertThat(nothing.at("/interaction/search/queries")).isEmpty();
        assertThat(nothing.toString()).doesNotContain("ninth weir");
    }

    @Test
    void shouldTellWhatASessionHoldsAndForgetIt() throws Exception {
        document(
                "tannery.md",
                "# Tannery",
                "The tannery below the upper mill uses spruce bark that the bark mill grinds.",
                "\"collection\":\"best-practices\",\"metadata\":{}");
        assertThat(send("GET", "/session/s-tan").statusCode()).isEqualTo(404);

        JsonNode first = post(
                "/context/multi_turn",
                "{\"session_id\":\"s-tan\",\"query\":\"What bark does the tannery below the upper mill use?\","
                        + "\"metadata\":{\"agent\":\"coder\"}}",
                200);
        query("{\"query\":\"Who grinds the spruce bark?\",\"session_id\":\"s-tan\",\"store\":false}");

        HttpResponse<String> told = send("GET", "/session/s-tan");
        assertThat(told.statusCode()).as(told.body()).isEqualTo(200);
        JsonNode session = JSON.readTree(told.body());
        assertThat(session.path("session_id").asText()).isEqualTo("s-tan");
        assertThat(session.path("turn_count").asInt()).isEqualTo(2);
        assertThat(session.path("total_queries").asInt()).isEqualTo(2);
        assertThat(session.path("total_context_items_sent").asInt())
                .isEqualTo(first.path("context_ids").size())
                .isPositive();
        assertThat(session.path("total_tokens_sent").asInt())
                .isEqualTo(first.path("token_count").asInt())
                .isPositive();
        // what may not be stored is not told
        assertThat(session.path("queries").toString())
                .isEqualTo("[\"What bark does the tannery below the upper mill use?\"]");
        assertThat(session.at("/metadata/agent").asText()).isEqualTo("coder");
        assertThat(Instant.parse(session.path("created_at").asText()))
                .isBefore(Instant.parse(session.path("last_accessed").asText()));

        HttpResponse<String> cleared = send("DELETE", "/session/s-tan");
        assertThat(JSON.readTree(cleared.body()))
                .isEqualTo(JSON.readTree("{\"status\":\"cleared\",\"session_id\":\"s-tan\"}"));
        assertThat(send("GET", "/session/s-tan").statusCode()).isEqualTo(404);
        assertThat(send("DELETE", "/session/s-tan").statusCode()).isEqualTo(200);
        JsonNode again = post(
                "/context/multi_turn",
                "{\"session_id\":\"s-tan\",\"query\":\"What bark does the tannery below the upper mill use?\"}",
                200);
        assertThat(again.path("turn_number").asInt()).isEqualTo(1);
        assertThat(again.path("context_ids")).isEqualTo(first.path("context_ids"));
    }

    @Test
    void shouldRememberEmbeddingsByVariantUntilTheEpochMoves() throws Exception {
        String question = "{\"query\":\"Who keeps the swing bridge of Malchow?\",\"session_id\":\"s-variant\"}";
        String variant = recorded(query(question)).at("/interaction/variant").asText();
        assertThat(variant).isIn("a", "b");
        double hits = embeddings("hit");
        double misses = embeddings("miss");

        // sticky, and so remembered
        assertThat(recorded(query(question)).at("/interaction/variant").asText())
                .isEqualTo(variant);
        assertThat(embeddings("hit")).isGreaterThan(hits);
        assertThat(embeddings("miss")).isEqualTo(misses);

        HttpResponse<String> other = named(question, "third");
        assertThat(recorded(JSON.readTree(other.body()))
                        .at("/interaction/variant")
                        .asText())
                .isEqualTo("third");
        assertThat(embeddings("miss")).isEqualTo(misses + 1);
        HttpResponse<String> wrong = named(question, "No Name");
        assertThat(wrong.statusCode()).isEqualTo(400);
        assertThat(JSON.readTree(wrong.body()).path("field").asText()).isEqualTo("x-millrace-variant");

        await(() -> send("DELETE", "/cache").statusCode() == 200);
        query(question);
        assertThat(embeddings("miss")).isEqualTo(misses + 2);
        double again = embeddings("hit");
        query(question);
        assertThat(embeddings("miss")).isEqualTo(misses + 2);
        assertThat(embeddings("hit")).isGreaterThan(again);

        // another session may be in the other one
        java.util.Set<String> seen = new java.util.HashSet<>();
        for (int i = 0; i < 40 && seen.size() < 2; i++) {
            seen.add(recorded(query(question.replace("s-variant", "s-variant-" + i)))
                    .at("/interaction/variant")
                    .asText());
        }
        assertThat(seen).containsExactlyInAnyOrder("a", "b");
    }

    private static HttpResponse<String> named(String body, String variant) throws Exception {
        return HTTP.send(
                HttpRequest.newBuilder(URI.create(standalone.url() + "/query"))
                        .header("Content-Type", "application/json")
                        .header("x-millrace-variant", variant)
                        .POST(HttpRequest.BodyPublishers.ofString(body))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    private static double embeddings(String result) throws Exception {
        String name = "millrace_embedding_cache_total{result=\"" + result + "\"} ";
        return send("GET", "/metrics")
                .body()
                .lines()
                .filter(line -> line.startsWith(name))
                .mapToDouble(line -> Double.parseDouble(line.substring(name.length())))
                .sum();
    }

    /** One that never rests: what is kept of it does not grow, and its sums are right. */
    @Test
    void shouldKeepABoundedPartOfALongSessionAndCountAllOfIt() throws Exception {
        document("shuttle.md", "# Shuttle", "The loom shuttle of Penzlin is of boxwood.", "\"metadata\":{}");
        int turns = 450;
        // turns, passages, tokens; what Redis was too slow for, on a busy machine, says that it is no turn, and may be
        // one nevertheless
        long[] counted = new long[3];
        long[] doubtful = new long[3];
        while (counted[0] < turns) {
            JsonNode turn = post(
                    "/context/multi_turn",
                    "{\"session_id\":\"s-long\",\"query\":\"What is the loom shuttle of Penzlin made of, "
                            + (counted[0] + doubtful[0]) + "?\",\"max_tokens\":200}",
                    200);
            int number = turn.path("turn_number").asInt();
            long[] sums = number > 0 ? counted : doubtful;
            sums[0]++;
            sums[1] += turn.path("context_ids").size();
            sums[2] += turn.path("token_count").asLong();
            if (number > 0) {
                assertThat((long) number).isBetween(counted[0], counted[0] + doubtful[0]);
            }
            if (number == 0) {
                // Redis is left alone for a second
                pause(1_100);
            }
            assertThat(doubtful[0]).isLessThan(turns / 5);
        }

        assertThat(counted[1]).isPositive();
        JsonNode session = JSON.readTree(send("GET", "/session/s-long").body());
        String[] names = {"turn_count", "total_context_items_sent", "total_tokens_sent"};
        for (int i = 0; i < names.length; i++) {
            assertThat(session.path(names[i]).asLong()).as(names[i]).isBetween(counted[i], counted[i] + doubtful[i]);
        }
        assertThat(session.path("queries").size()).isBetween(1, 40);
        var client = io.lettuce.core.RedisClient.create(standalone.endpoints().redisUrl());
        try (var connection = client.connect()) {
            var redis = connection.sync();
            for (String key : redis.keys("millrace:session:*")) {
                long size = redis.type(key).equals("zset") ? redis.zcard(key) : redis.hlen(key);
                assertThat(size).as(key).isLessThanOrEqualTo(400);
            }
            assertThat(redis.keys("millrace:session:*:turns")).anyMatch(key -> redis.zcard(key) == 400);
        } finally {
            client.shutdown();
        }
        assertThat(send("DELETE", "/session/s-long").statusCode()).isEqualTo(200);
        assertThat(send("GET", "/session/s-long").statusCode()).isEqualTo(404);
    }

    private static HttpResponse<String> send(String method, String path) throws Exception {
        return HTTP.send(
                HttpRequest.newBuilder(URI.create(standalone.url() + path))
                        .method(method, HttpRequest.BodyPublishers.noBody())
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    private static JsonNode turn(String question, String level) throws Exception {
        return post(
                "/context/multi_turn",
                "{\"session_id\":\"s-1\",\"query\":\"" + question + "\",\"context_level\":\"" + level + "\"}",
                200);
    }

    private static JsonNode post(String path, String body, int status) throws Exception {
        HttpResponse<String> response = post(path, body);
        assertThat(response.statusCode()).as(response.body()).isEqualTo(status);
        return JSON.readTree(response.body());
    }

    private static HttpServer crossEncoder() throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/rerank", exchange -> {
            JsonNode asked = JSON.readTree(exchange.getRequestBody().readAllBytes());
            ObjectNode answer = JSON.createObjectNode();
            ArrayNode results = answer.putArray("results");
            int index = 0;
            for (JsonNode text : asked.path("documents")) {
                results.addObject()
                        .put("index", index++)
                        .put("relevance_score", text.asText().contains(liked) ? 0.9 : 0.1);
            }
            byte[] body = JSON.writeValueAsBytes(answer);
            exchange.sendResponseHeaders(liked.isEmpty() ? 500 : 200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.createContext("/v1/chat/completions", exchange -> {
            exchange.getRequestBody().readAllBytes();
            pause(rewordingMillis);
            ObjectNode answer = JSON.createObjectNode();
            answer.putArray("choices").addObject().putObject("message").put("content", reworded);
            byte[] body = JSON.writeValueAsBytes(answer);
            exchange.sendResponseHeaders(reworded.isEmpty() ? 500 : 200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.setExecutor(Executors.newVirtualThreadPerTaskExecutor());
        server.start();
        return server;
    }

    /** @param extra further fields of the request */
    private static void document(String path, String title, String text, String extra) throws Exception {
        ObjectNode body = JSON.createObjectNode()
                .put("project", "it")
                .put("relative_path", path)
                .put("content", title + "\n\n" + text);
        body.setAll((ObjectNode) JSON.readTree("{" + extra + "}"));
        HttpResponse<String> response = post("/documents?wait=true", body.toString());
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
    }

    private static JsonNode search(String body) throws Exception {
        HttpResponse<String> response = post("/search", body);
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return JSON.readTree(response.body());
    }

    private static JsonNode query(String body) throws Exception {
        HttpResponse<String> response = post("/query", body);
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return JSON.readTree(response.body());
    }

    private static List<String> paths(JsonNode found) {
        return paths(found, "results");
    }

    private static List<String> paths(JsonNode found, String field) {
        List<String> paths = new ArrayList<>();
        found.path(field).forEach(item -> paths.add(item.at("/payload/path").asText()));
        return paths;
    }

    /** What Postgres holds of an answered query. */
    private static JsonNode recorded(JsonNode answer) throws Exception {
        HttpResponse<String> response = HTTP.send(
                HttpRequest.newBuilder(URI.create(standalone.url() + "/interactions/"
                                + answer.path("interaction_id").asText() + "?wait=15"))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
        JsonNode record = JSON.readTree(response.body());
        assertThat(record.path("interaction").isObject()).as(response.body()).isTrue();
        return record;
    }

    private static HttpResponse<String> post(String path, String body) throws Exception {
        return HTTP.send(
                HttpRequest.newBuilder(URI.create(standalone.url() + path))
                        .timeout(Duration.ofSeconds(60))
                        .header("Content-Type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString(body))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    private static void await(Callable<Boolean> condition) {
        Awaitility.await()
                .atMost(Duration.ofSeconds(60))
                .pollInterval(Duration.ofMillis(100))
                .ignoreExceptions()
                .until(condition);
    }
}
