package io.millrace.gateway;

import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Backend;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.config.MillraceConfig.Locality;
import io.millrace.schema.BackendStatus;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/** What the prober says of the deployments; what it has not said yet is null and not a guess. */
final class Backends {
    private final MillraceConfig config;
    private final Map<String, BackendStatus> states = new ConcurrentHashMap<>();

    Backends(MillraceConfig config) {
        this.config = config;
    }

    void learn(BackendStatus state) {
        states.put(state.getDeployment(), state);
    }

    /** The predecessor's {@code local_llm}: the preferred local deployment. */
    JsonObject local() {
        Optional<Deployment> local = config.backends().values().stream()
                .filter(backend -> backend.locality() == Locality.LOCAL)
                .flatMap(backend -> backend.deployments().stream())
                .findFirst();
        return local.map(this::describe)
                .orElseGet(() -> new JsonObject().put("url", null).put("status", "not_configured"))
                .put("queue_max", config.dispatch().queue());
    }

    boolean localSupportsJson() {
        return config.backends().values().stream()
                .filter(backend -> backend.locality() == Locality.LOCAL)
                .flatMap(backend -> backend.deployments().stream())
                .anyMatch(deployment -> deployment.capabilities().contains("json"));
    }

    JsonArray all() {
        JsonArray all = new JsonArray();
        for (Backend backend : config.backends().values()) {
            for (Deployment deployment : backend.deployments()) {
                all.add(describe(deployment)
                        .put("deployment", deployment.name())
                        .put("backend", backend.name())
                        .put("locality", backend.locality() == Locality.LOCAL ? "local" : "remote"));
            }
        }
        return all;
    }

    private JsonObject describe(Deployment deployment) {
        BackendStatus state = states.get(deployment.name());
        JsonObject json = new JsonObject().put("url", deployment.base()).put("status", word(state));
        if (state == null) {
            return json.put("loading", null)
                    .put("healthy", null)
                    .put("queue_depth", null)
                    .put("error", "");
        }
        return json.put("loading", state.getLoading())
                .put("healthy", state.getHealthy())
                .put("progress", state.getProgress())
                .put("model_name", state.getModel())
                .put("queue_depth", state.getQueueDepth())
                .put("error", state.getError())
                .put("changed_at", state.getChangedAt());
    }

    private static String word(@Nullable BackendStatus state) {
        if (state == null) {
            return "unknown";
        }
        return state.getLoading() ? "loading" : state.getHealthy() ? "healthy" : "unhealthy";
    }
}
