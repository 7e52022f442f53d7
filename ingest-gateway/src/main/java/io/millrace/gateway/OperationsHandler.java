package io.millrace.gateway;

import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import io.millrace.config.MillraceConfig;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import java.util.List;
import java.util.TreeMap;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;

/** Health, status, statistics, metrics, configuration, models. */
final class OperationsHandler {
    private static final String SERVICE = "millrace";

    private final MillraceConfig config;
    private final GatewayPorts ports;
    private final Endpoints endpoints;
    private final Backends backends;
    private final Traffic traffic;
    private final PrometheusMeterRegistry metrics;
    private final Blocking blocking;
    private final BooleanSupplier ready;
    private final Supplier<ServiceState> self;
    private final long startedAt = System.currentTimeMillis();

    OperationsHandler(
            MillraceConfig config,
            GatewayPorts ports,
            Endpoints endpoints,
            Backends backends,
            Traffic traffic,
            PrometheusMeterRegistry metrics,
            Blocking blocking,
            BooleanSupplier ready,
            Supplier<ServiceState> self) {
        this.config = config;
        this.ports = ports;
        this.endpoints = endpoints;
        this.backends = backends;
        this.traffic = traffic;
        this.metrics = metrics;
        this.blocking = blocking;
        this.ready = ready;
        this.self = self;
    }

    void health(RoutingContext context) {
        boolean up = ready.getAsBoolean();
        List<ServiceState> services = services();
        Answers.json(
                context,
                up ? 200 : 503,
                new JsonObject()
                        .put("status", word(up, services))
                        .put("service", SERVICE)
                        .put("collections", new JsonArray(config.collections())));
    }

    void live(RoutingContext context) {
        Answers.json(context, 200, new JsonObject().put("status", "alive"));
    }

    void ready(RoutingContext context) {
        boolean up = ready.getAsBoolean();
        Answers.json(context, up ? 200 : 503, new JsonObject().put("status", up ? "ready" : "starting"));
    }

    void detailed(RoutingContext context) {
        blocking.run(endpoints::check)
                .onSuccess(checked -> {
                    List<ServiceState> services = services();
                    boolean up = ready.getAsBoolean();
                    Answers.json(
                            context,
                            up ? 200 : 503,
                            new JsonObject()
                                    .put("status", word(up, services))
                                    .put("services", json(services))
                                    .put("endpoints", checked)
                                    .put("backends", backends.all()));
                })
                .onFailure(context::fail);
    }

    void status(RoutingContext context) {
        blocking.run(endpoints::check)
                .onSuccess(checked -> Answers.json(
                        context,
                        200,
                        new JsonObject()
                                .put("service", SERVICE)
                                .put("ready", ready.getAsBoolean())
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
                                                .put("local_supports_json", backends.localSupportsJson()))
                                .put("endpoints", checked)
                                .put("services", json(services()))
                                .put("backends", backends.all())))
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
        blocking.run(() -> new JsonObject(ports.config().effective()).toBuffer())
                .onSuccess(body -> Answers.json(context, 200, body))
                .onFailure(context::fail);
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

    private List<ServiceState> services() {
        ServiceState own = self.get();
        List<ServiceState> others = ports.services().get().stream()
                .filter(state -> !state.name().equals(own.name()))
                .toList();
        return java.util.stream.Stream.concat(java.util.stream.Stream.of(own), others.stream())
                .toList();
    }

    private static String word(boolean up, List<ServiceState> services) {
        if (!up) {
            return "starting";
        }
        boolean well = services.stream()
                .allMatch(state -> state.ready() && state.details().isEmpty());
        return well ? "healthy" : "degraded";
    }

    private static JsonArray json(List<ServiceState> services) {
        JsonArray array = new JsonArray();
        for (ServiceState state : services) {
            JsonObject details = new JsonObject();
            new TreeMap<>(state.details()).forEach(details::put);
            array.add(new JsonObject()
                    .put("name", state.name())
                    .put("ready", state.ready())
                    .put("details", details));
        }
        return array;
    }
}
