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
import java.time.Duration;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * Asks each deployment how it is and publishes changes to {@code backend-status}.
 *
 * <p>llama.cpp is asked for {@code /health} (503 while it loads), {@code /props} and {@code /slots}; anything else for
 * {@code /v1/models}, where any answer but a refusal of the key counts as health: not every API lists its models.
 */
public final class Prober implements Service {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration TIMEOUT = Duration.ofSeconds(2);

    /** A remote is asked less often: its probes leave the machine. */
    private static final Duration REMOTE_EVERY = Duration.ofSeconds(5);

    /** Unchanged states are repeated, so that a reader sees that the prober lives. */
    private static final Duration REPEAT = Duration.ofSeconds(10);

    private final Log log;
    private final MillraceConfig config;
    private final HttpClient http = HttpClient.newBuilder()
            .connectTimeout(TIMEOUT)
            .version(HttpClient.Version.HTTP_1_1)
            .followRedirects(HttpClient.Redirect.NEVER)
            .build();
    private final ScheduledExecutorService timer = Executors.newScheduledThreadPool(
            1, Thread.ofPlatform().name("prober").daemon().factory());
    private final Map<String, BackendStatus> last = new ConcurrentHashMap<>();

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
                Duration period = backend.locality() == Locality.REMOTE
                        ? REMOTE_EVERY
                        : config.dispatch().probe();
                timer.scheduleWithFixedDelay(
                        () -> Thread.startVirtualThread(() -> publish(probe(backend, deployment))),
                        0,
                        period.toMillis(),
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
        HttpResponse<String> health = get(deployment, "/health");
        if (health.statusCode() == 503) {
            JsonNode progress = json(health.body()).path("error").path("progress");
            status.setHealthy(false).setLoading(true).setProgress(progress.isNumber() ? progress.asDouble() : null);
            return;
        }
        status.setHealthy(health.statusCode() == 200);
        if (health.statusCode() != 200) {
            status.setError("/health answered HTTP " + health.statusCode());
            return;
        }
        HttpResponse<String> props = get(deployment, "/props");
        if (props.statusCode() == 200) {
            JsonNode json = json(props.body());
            status.setModel(json.path("model_path").asText(deployment.model()));
            int context = json.path("default_generation_settings").path("n_ctx").asInt(deployment.contextLength());
            status.setContextLength(context).setSlots(json.path("total_slots").asInt(deployment.concurrency()));
        }
        HttpResponse<String> slots = get(deployment, "/slots");
        if (slots.statusCode() == 200) {
            int busy = 0;
            for (JsonNode slot : json(slots.body())) {
                busy += slot.path("is_processing").asBoolean() ? 1 : 0;
            }
            status.setQueueDepth(busy);
        }
    }

    private void openai(Deployment deployment, BackendStatus.Builder status) throws IOException, InterruptedException {
        HttpResponse<String> models = get(deployment, "/v1/models");
        int code = models.statusCode();
        boolean refused = code == 401 || code == 403;
        status.setHealthy(!refused && code < 500);
        if (refused) {
            status.setError("the key is refused (HTTP " + code + ")");
        } else if (code >= 500) {
            status.setError("/v1/models answered HTTP " + code);
        }
    }

    private HttpResponse<String> get(Deployment deployment, String path) throws IOException, InterruptedException {
        HttpRequest.Builder request =
                HttpRequest.newBuilder(URI.create(deployment.base() + path)).timeout(TIMEOUT);
        if (deployment.key().isPresent()) {
            request.header("Authorization", "Bearer " + deployment.key().value());
        }
        return http.send(request.GET().build(), HttpResponse.BodyHandlers.ofString());
    }

    private static JsonNode json(String body) {
        try {
            return JSON.readTree(body);
        } catch (JsonProcessingException e) {
            return JSON.createObjectNode();
        }
    }

    private void publish(BackendStatus status) {
        BackendStatus before = last.get(status.getDeployment());
        long now = System.currentTimeMillis();
        boolean same = before != null
                && before.getHealthy() == status.getHealthy()
                && before.getLoading() == status.getLoading()
                && before.getQueueDepth() == status.getQueueDepth()
                && Objects.equals(before.getProgress(), status.getProgress())
                && before.getError().equals(status.getError())
                && before.getModel().equals(status.getModel());
        if (before != null && same && now - before.getEnvelope().getOccurredAt() < REPEAT.toMillis()) {
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
        timer.shutdownNow();
        http.shutdownNow();
    }
}
