package io.millrace.routers.prober;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Backend;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.config.MillraceConfig.Kind;
import io.millrace.config.MillraceConfig.Locality;
import io.millrace.log.Log;
import io.millrace.log.Topics;
import io.millrace.schema.BackendStatus;
import io.millrace.schema.Envelope;
import io.millrace.service.Service;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.time.Duration;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Asks each deployment how it is and publishes changes to {@code backend-status}.
 *
 * <p>llama.cpp is asked for {@code /health} (503 while it loads), {@code /props} and {@code /slots}; anything else for
 * {@code /v1/models}, where any answer but a refusal of the key counts as health: not every API lists its models.
 */
public final class Prober implements Service {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration TIMEOUT = Duration.ofSeconds(2);

    /** A remote is asked at every tenth probe: its probes leave the machine, and may count against a limit. */
    private static final int REMOTE_EVERY = 10;

    /** llama-server's model and context change with a restart only. */
    private static final Duration PROPERTIES_EVERY = Duration.ofSeconds(10);

    /** A longer response is no answer to a probe. */
    private static final int MAX_BODY = 1024 * 1024;

    /** Unchanged states are repeated, so that a reader sees that the prober lives. */
    private static final Duration REPEAT = Duration.ofSeconds(10);

    private final Log log;
    private final MillraceConfig config;
    private final HttpClient http = HttpClient.newBuilder()
            .connectTimeout(TIMEOUT)
            .version(HttpClient.Version.HTTP_1_1)
            .followRedirects(HttpClient.Redirect.NEVER)
            // its own would refuse a probe that begins while the prober stops
            .executor(Thread::startVirtualThread)
            .build();
    private final ScheduledExecutorService timer = Executors.newScheduledThreadPool(
            1, Thread.ofPlatform().name("prober").daemon().factory());
    private final Map<String, BackendStatus> last = new ConcurrentHashMap<>();
    private final Map<String, Properties> properties = new ConcurrentHashMap<>();
    private volatile boolean closed;

    /** What {@code /props} said, and when. */
    private record Properties(String model, int contextLength, int slots, long atNanos) {}

    public Prober(Log log, MillraceConfig config) {
        this.log = log;
        this.config = config;
    }

    @Override
    public String name() {
        return "prober";
    }

    @Override
    public void start() {
        for (Backend backend : config.backends().values()) {
            for (Deployment deployment : backend.deployments()) {
                long period = config.dispatch().probe().toMillis()
                        * (backend.locality() == Locality.REMOTE ? REMOTE_EVERY : 1);
                AtomicBoolean busy = new AtomicBoolean();
                timer.scheduleAtFixedRate(
                        () -> {
                            // one that hangs until its timeout must not be joined by the next ones
                            if (busy.compareAndSet(false, true)) {
                                Thread.startVirtualThread(() -> {
                                    try {
                                        publish(probe(backend, deployment));
                                    } finally {
                                        busy.set(false);
                                    }
                                });
                            }
                        },
                        0,
                        period,
                        TimeUnit.MILLISECONDS);
            }
        }
    }

    @Override
    public boolean isReady() {
        return config.backends().values().stream()
                .flatMap(backend -> backend.deployments().stream())
                .allMatch(deployment -> last.containsKey(deployment.name()));
    }

    @Override
    public Map<String, String> details() {
        Map<String, String> details = new TreeMap<>();
        last.forEach((deployment, status) -> {
            if (!status.getHealthy()) {
                details.put(deployment, status.getLoading() ? "loading" : status.getError());
            }
        });
        return details;
    }

    private BackendStatus probe(Backend backend, Deployment deployment) {
        long began = System.nanoTime();
        BackendStatus.Builder status = BackendStatus.newBuilder()
                .setDeployment(deployment.name())
                .setBackend(backend.name())
                .setLocality(backend.locality() == Locality.REMOTE ? "remote" : "local")
                .setModel(deployment.model())
                .setCapabilities(deployment.capabilities().stream().sorted().toList())
                .setContextLength(deployment.contextLength())
                .setSlots(deployment.concurrency());
        try {
            if (backend.kind() == Kind.LLAMA_CPP) {
                llama(deployment, status);
            } else {
                openai(deployment, status);
            }
        } catch (IOException e) {
            status.setHealthy(false).setError("not reachable: " + e.getClass().getSimpleName());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            status.setHealthy(false).setError("stopping");
        }
        return status.setProbeMs((System.nanoTime() - began) / 1e6).build();
    }

    private void llama(Deployment deployment, BackendStatus.Builder status) throws IOException, InterruptedException {
        Response health = get(deployment, "/health");
        if (health.code() == 503) {
            properties.remove(deployment.name());
            JsonNode progress = json(health.body()).path("error").path("progress");
            status.setHealthy(false).setLoading(true).setProgress(progress.isNumber() ? progress.asDouble() : null);
            return;
        }
        status.setHealthy(health.code() == 200);
        if (health.code() != 200) {
            status.setError("/health answered HTTP " + health.code());
            return;
        }
        Properties known = properties(deployment);
        status.setModel(known.model).setContextLength(known.contextLength).setSlots(known.slots);
        Response slots = get(deployment, "/slots");
        if (slots.code() == 200) {
            int busy = 0;
            for (JsonNode slot : json(slots.body())) {
                busy += slot.path("is_processing").asBoolean() ? 1 : 0;
            }
            status.setQueueDepth(busy);
        }
    }

    private void openai(Deployment deployment, BackendStatus.Builder status) throws IOException, InterruptedException {
        Response models = get(deployment, "/v1/models");
        int code = models.code();
        boolean refused = code == 401 || code == 403;
        status.setHealthy(!refused && code < 500);
        if (refused) {
            status.setError("the key is refused (HTTP " + code + ")");
        } else if (code >= 500) {
            status.setError("/v1/models answered HTTP " + code);
        }
    }

    private Properties properties(Deployment deployment) throws IOException, InterruptedException {
        Properties known = properties.get(deployment.name());
        long now = System.nanoTime();
        if (known != null && now - known.atNanos < PROPERTIES_EVERY.toNanos()) {
            return known;
        }
        Response response = get(deployment, "/props");
        JsonNode json = json(response.code() == 200 ? response.body() : "{}");
        Properties found = new Properties(
                json.path("model_path").asText(deployment.model()),
                json.path("default_generation_settings").path("n_ctx").asInt(deployment.contextLength()),
                json.path("total_slots").asInt(deployment.concurrency()),
                now);
        properties.put(deployment.name(), found);
        return found;
    }

    private record Response(int code, String body) {}

    private Response get(Deployment deployment, String path) throws IOException, InterruptedException {
        HttpRequest.Builder request =
                HttpRequest.newBuilder(URI.create(deployment.base() + path)).timeout(TIMEOUT);
        if (deployment.key().isPresent()) {
            request.header("Authorization", "Bearer " + deployment.key().value());
        }
        // the timeout of a request ends with the head of its response
        CompletableFuture<HttpResponse<String>> answering = http.sendAsync(
                request.GET().build(),
                HttpResponse.BodyHandlers.limiting(HttpResponse.BodyHandlers.ofString(), MAX_BODY));
        try {
            HttpResponse<String> response = answering.get(TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
            return new Response(response.statusCode(), response.body());
        } catch (TimeoutException e) {
            answering.cancel(true);
            throw new HttpTimeoutException("no answer within " + TIMEOUT.toSeconds() + " s");
        } catch (ExecutionException e) {
            throw e.getCause() instanceof IOException cause ? cause : new IOException(e.getCause());
        }
    }

    private static JsonNode json(String body) {
        try {
            return JSON.readTree(body);
        } catch (JsonProcessingException e) {
            return JSON.createObjectNode();
        }
    }

    private void publish(BackendStatus status) {
        if (closed) {
            // what the end of the prober broke off says nothing of the deployment
            return;
        }
        BackendStatus before = last.get(status.getDeployment());
        long now = System.currentTimeMillis();
        boolean same = before != null
                && before.getHealthy() == status.getHealthy()
                && before.getLoading() == status.getLoading()
                && before.getQueueDepth() == status.getQueueDepth()
                && Objects.equals(before.getProgress(), status.getProgress())
                && before.getError().equals(status.getError())
                && before.getContextLength() == status.getContextLength()
                && before.getModel().equals(status.getModel());
        // a clock that was set back makes none silent until it has caught up
        if (before != null && same && Math.abs(now - before.getEnvelope().getOccurredAt()) < REPEAT.toMillis()) {
            return;
        }
        boolean turned = before == null
                || before.getHealthy() != status.getHealthy()
                || before.getLoading() != status.getLoading();
        BackendStatus published = BackendStatus.newBuilder(status)
                .setEnvelope(Envelope.newBuilder().setOccurredAt(now).build())
                .setChangedAt(turned || before == null ? now : before.getChangedAt())
                .build();
        last.put(status.getDeployment(), published);
        log.producer().send(Topics.BACKEND_STATUS, status.getDeployment(), published);
    }

    @Override
    public void close() {
        closed = true;
        timer.shutdownNow();
        http.shutdownNow();
    }
}
