package io.millrace.learners.sources;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.millrace.log.LogSettings;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Against a double of Connect's REST API. */
class ConnectorsTest {
    private static final LogSettings LOG = new LogSettings("127.0.0.1:1", "t.", 1, (short) 1);
    private static final List<SourceDefinition> NOTES = SourcesFile.parse(
            Path.of("/data/knowledge-sources.yaml"),
            "sources:\n  - {id: notes, type: local_dir, path: notes}\n",
            List.of("codebase-context"));
    private static final String NAME = SourceDefinition.connector(LOG, "notes");

    private static final Connectors.Sources SOURCES = new Connectors.Sources() {
        @Override
        public String clash(String id) {
            return "";
        }

        @Override
        public Map<String, String> config(SourceDefinition source) {
            return source.connectorConfig(LOG, Path.of("/work"), 1);
        }

        @Override
        public void prepare(SourceDefinition source) {}
    };

    /** What Connect runs, and what it was asked for but the list. */
    private final Set<String> running = Collections.synchronizedSet(new TreeSet<>());

    private final List<String> asked = Collections.synchronizedList(new ArrayList<>());
    private final AtomicInteger refusals = new AtomicInteger();
    private final AtomicLong nanos = new AtomicLong();
    private HttpServer server = serve();
    private final Connectors connectors = new Connectors(
            () -> URI.create("http://127.0.0.1:" + server.getAddress().getPort()), LOG, SOURCES, nanos::get);

    @BeforeEach
    void configure() throws Exception {
        assertThat(connectors.look(NOTES, Set.of())).isTrue();
        assertThat(running).containsExactly(NAME);
        pass(2);
        assertThat(connectors.look(NOTES, Set.of())).isTrue();
        assertThat(connectors.of("notes")).isNotNull();
        asked.clear();
    }

    @AfterEach
    void stop() {
        connectors.close();
        server.stop(0);
    }

    private void pass(int seconds) {
        nanos.addAndGet(Duration.ofSeconds(seconds).toNanos());
    }

    /** A cluster answers so while it shares out its work anew. The source was failed for ever, and the sync forgotten. */
    @Test
    void shouldSyncLaterAndTellNoFailureWhenARestartIsRefusedOnce() throws Exception {
        refusals.set(1);
        connectors.sync("notes");
        connectors.look(NOTES, Set.of());

        assertThat(asked).containsExactly("POST /connectors/" + NAME + "/restart");
        assertThat(connectors.error("notes")).isEmpty();

        pass(2);
        connectors.look(NOTES, Set.of());
        assertThat(asked).hasSize(1);
        pass(10);
        connectors.look(NOTES, Set.of());
        assertThat(asked).hasSize(2);
        pass(20);
        connectors.look(NOTES, Set.of());
        assertThat(asked).as("it worked").hasSize(2);
        assertThat(connectors.error("notes")).isEmpty();
    }

    @Test
    void shouldTellARefusedConfigurationUntilConnectTakesIt() throws Exception {
        running.clear();
        refusals.set(1);
        pass(2);
        connectors.look(NOTES, Set.of());
        assertThat(connectors.error("notes")).isEqualTo("rebalancing");

        pass(12);
        connectors.look(NOTES, Set.of());

        assertThat(connectors.error("notes")).isEmpty();
        assertThat(running).containsExactly(NAME);
    }

    @Test
    void shouldDeleteTheConnectorOfASourceThatWentWhileConnectWasAway() throws Exception {
        int port = server.getAddress().getPort();
        server.stop(0);
        pass(2);

        assertThat(connectors.look(List.of(), Set.of("notes"))).isFalse();

        // whether one runs is not known, and must not be taken for a no
        assertThat(connectors.of("notes")).isNull();
        assertThat(connectors.isAway()).isTrue();
        server = serve(port);
        pass(2);
        assertThat(connectors.look(List.of(), Set.of("notes"))).isTrue();
        assertThat(connectors.isAway()).isFalse();
        assertThat(running).isEmpty();
        assertThat(asked)
                .containsExactly(
                        "PUT /connectors/" + NAME + "/stop",
                        "DELETE /connectors/" + NAME + "/offsets",
                        "DELETE /connectors/" + NAME);
    }

    @Test
    void shouldAskOnceASecondWhenThereIsNothingToDo() throws Exception {
        connectors.sync("nobody");

        assertThat(connectors.look(NOTES, Set.of())).isFalse();

        pass(2);
        assertThat(connectors.look(NOTES, Set.of())).isTrue();
        assertThat(asked).isEmpty();
    }

    /** A process of ours that dies at its start was begun again four times a second, and nobody was told why nothing was read. */
    @Test
    void shouldSayWhyThereIsNoWorkerAndTryLater() throws Exception {
        AtomicInteger tries = new AtomicInteger();
        try (Connectors none = new Connectors(
                () -> {
                    tries.incrementAndGet();
                    throw new IllegalStateException("Kafka Connect stopped at once");
                },
                LOG,
                SOURCES,
                nanos::get)) {
            for (int tick = 0; tick < 4; tick++) {
                assertThat(none.look(NOTES, Set.of())).isFalse();
                assertThat(none.error("notes")).isEqualTo("Kafka Connect stopped at once");
                pass(2);
            }
            assertThat(tries).hasValue(1);

            pass(3);
            none.look(NOTES, Set.of());
            assertThat(tries).hasValue(2);
            // the file is another: who mended it does not wait
            none.forgive();
            pass(2);
            none.look(NOTES, Set.of());
            assertThat(tries).hasValue(3);
        }
    }

    private HttpServer serve() {
        return serve(0);
    }

    private HttpServer serve(int port) {
        try {
            HttpServer made = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
            made.createContext("/", this::answer);
            made.start();
            return made;
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    private void answer(HttpExchange exchange) throws IOException {
        try (exchange) {
            String method = exchange.getRequestMethod();
            String path = exchange.getRequestURI().getPath();
            String body = "";
            int code = 200;
            if (method.equals("GET")) {
                body = running.stream()
                        .map(name -> "\"" + name + "\":{\"status\":{\"connector\":{\"state\":\"RUNNING\"}}}")
                        .collect(Collectors.joining(",", "{", "}"));
            } else {
                asked.add(method + " " + path);
                if (refusals.getAndUpdate(left -> Math.max(0, left - 1)) > 0) {
                    code = 409;
                    body = "{\"message\":\"rebalancing\"}";
                } else if (path.endsWith("/config")) {
                    running.add(NAME);
                } else if (method.equals("DELETE") && !path.endsWith("/offsets")) {
                    running.remove(NAME);
                }
            }
            byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(code, bytes.length == 0 ? -1 : bytes.length);
            exchange.getResponseBody().write(bytes);
        }
    }
}
