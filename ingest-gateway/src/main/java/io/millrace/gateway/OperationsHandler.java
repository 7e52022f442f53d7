package io.millrace.gateway;

import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import io.millrace.config.MillraceConfig;
import io.millrace.service.Service;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;

/** Health, status, statistics, metrics, configuration, models. */
final class OperationsHandler {
    private static final String SERVICE = "millrace";

    private final MillraceConfig config;
    private final Gateway.Surroundings around;
    private final Endpoints endpoints;
    private final Backends backends;
    private final Traffic traffic;
    private final PrometheusMeterRegistry metrics;
    private final Blocking blocking;
    private final KeyStore keys;
    private final Service self;
    private final long startedAt = System.currentTimeMillis();

    OperationsHandler(
            MillraceConfig config,
            Gateway.Surroundings around,
            Endpoints endpoints,
            Backends backends,
            Traffic traffic,
            PrometheusMeterRegistry metrics,
            Blocking blocking,
            KeyStore keys,
            Service self) {
        this.config = config;
        this.around = around;
        this.endpoints = endpoints;
        this.backends = backends;
        this.traffic = traffic;
        this.metrics = metrics;
        this.blocking = blocking;
        this.keys = keys;
        this.self = self;
    }

    void health(RoutingContext context) {
        List<Service> services = services();
        boolean up = isUp(services);
        Answers.json(
                context,
                up ? 200 : 503,
                new JsonObject()
                        .put("status", word(services))
                        .put("service", SERVICE)
                        .put("collections", new JsonArray(config.collections()))
                        .put("services", detailed(services)));
    }

    void live(RoutingContext context) {
        Answers.json(context, 200, new JsonObject().put("status", "alive"));
    }

    void ready(RoutingContext context) {
        boolean up = isUp(services());
        Answers.json(context, up ? 200 : 503, new JsonObject().put("status", up ? "ready" : "starting"));
    }

    void detailed(RoutingContext context) {
        blocking.run(endpoints::check)
                .onSuccess(reachable -> {
                    List<Service> services = services();
                    Answers.json(
                            context,
                            isUp(services) ? 200 : 503,
                            new JsonObject()
                                    .put("status", word(services))
                                    .put("service", SERVICE)
                                    .put("services", detailed(services))
                                    .put("endpoints", endpoints.toJson())
                                    .put("reachable", reachable)
                                    .put("backends", backends.all()));
                })
                .onFailure(context::fail);
    }

    void status(RoutingContext context) {
        blocking.run(endpoints::check)
                .onSuccess(reachable -> {
                    JsonObject services = new JsonObject();
                    services().forEach(service -> services.put(service.name(), service.isReady()));
                    Answers.json(
                            context,
                            200,
                            new JsonObject()
                                    .put("service", SERVICE)
                                    .put("started_at", startedAt)
                                    .put("local_llm", backends.local())
                                    .put(
                                            "routing",
                                            new JsonObject()
                                                    .put(
                                                            "threshold",
                                                            config.routing().local())
                                                    .put(
                                                            "fallback_threshold",
                                                            config.routing().fallback())
                                                    .put(
                                                            "quality_bar",
                                                            config.routing().qualityBar())
                                                    .put("local_supports_json", backends.localSupportsJson()))
                                    .put("endpoints", endpoints.toJson())
                                    .put("reachable", reachable)
                                    .put("services", services)
                                    .put("backends", backends.all()));
                })
                .onFailure(context::fail);
    }

    void stats(RoutingContext context) {
        Answers.json(context, 200, traffic.toJson());
    }

    void metrics(RoutingContext context) {
        // a scrape renders some hundred kilobytes of text
        blocking.run(metrics::scrape)
                .onSuccess(text -> context.response()
                        .putHeader(HttpHeaders.CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
                        .end(text))
                .onFailure(context::fail);
    }

    void config(RoutingContext context) {
        blocking.run(() -> new JsonObject(around.config().get()).toBuffer())
                .onSuccess(body -> Answers.json(context, 200, body))
                .onFailure(context::fail);
    }

    /** Answers to come are asked for anew; nothing is deleted, old entries end with their time. */
    void clearCache(RoutingContext context) {
        keys.endCache()
                .whenComplete((epoch, error) -> context.vertx().runOnContext(go -> {
                    if (error == null) {
                        Answers.json(
                                context,
                                200,
                                new JsonObject().put("status", "cleared").put("epoch", epoch));
                    } else {
                        context.fail(Problem.unavailable(
                                "redis_unavailable", "redis did not take the new epoch; try again"));
                    }
                }));
    }

    void models(RoutingContext context) {
        JsonArray data = new JsonArray();
        for (String name : new TreeMap<>(Queries.models(config)).keySet()) {
            data.add(new JsonObject()
                    .put("id", name)
                    .put("object", "model")
                    .put("created", startedAt / 1_000)
                    .put("owned_by", SERVICE));
        }
        Answers.json(context, 200, new JsonObject().put("object", "list").put("data", data));
    }

    /** The services of this process, this gateway among them. */
    private List<Service> services() {
        List<Service> services = new ArrayList<>(around.services().get());
        if (services.stream().noneMatch(service -> service.name().equals(self.name()))) {
            services.add(self);
        }
        return services;
    }

    private static boolean isUp(List<Service> services) {
        return services.stream().filter(Service::isEssential).allMatch(Service::isReady);
    }

    private static String word(List<Service> services) {
        if (!isUp(services)) {
            return "unhealthy";
        }
        return services.stream()
                        .allMatch(service ->
                                service.isReady() && service.details().isEmpty())
                ? "healthy"
                : "degraded";
    }

    private static JsonObject detailed(List<Service> services) {
        JsonObject json = new JsonObject();
        for (Service service : services) {
            JsonObject details = new JsonObject();
            new TreeMap<>(service.details()).forEach(details::put);
            JsonObject state = new JsonObject().put("ready", service.isReady());
            json.put(service.name(), details.isEmpty() ? state : state.put("details", details));
        }
        return json;
    }
}
