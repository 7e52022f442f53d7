package io.millrace.gateway;

import static java.util.Objects.requireNonNull;

import io.millrace.config.MillraceConfig;
import io.millrace.text.ContextLevel;
import io.netty.handler.codec.http.TooLongHttpHeaderException;
import io.netty.handler.codec.http.TooLongHttpLineException;
import io.vertx.core.Future;
import io.vertx.core.Handler;
import io.vertx.core.MultiMap;
import io.vertx.core.VerticleBase;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.HttpServer;
import io.vertx.core.http.HttpServerOptions;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpVersion;
import io.vertx.core.json.JsonObject;
import io.vertx.core.net.SocketAddress;
import io.vertx.ext.web.Router;
import io.vertx.ext.web.RoutingContext;
import io.vertx.ext.web.handler.BodyHandler;
import io.vertx.ext.web.openapi.router.RequestExtractor;
import io.vertx.ext.web.openapi.router.RouterBuilder;
import io.vertx.openapi.contract.Location;
import io.vertx.openapi.contract.Operation;
import io.vertx.openapi.contract.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.IntConsumer;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The HTTP server on one event loop. */
final class Frontend extends VerticleBase {
    private static final Logger LOG = LoggerFactory.getLogger(Frontend.class);
    private static final String ROOM = "room";

    /** What a body is taken for that comes in chunks and does not say its length. */
    private static final long CHUNKED_BYTES = 1 << 20;

    private static final int HEADER_BYTES = 32 * 1024;
    private static final int LINE_BYTES = HttpServerOptions.DEFAULT_MAX_INITIAL_LINE_LENGTH;
    private static final int IDLE_SECONDS = 3_660;
    private static final String CHAT = "/v1/chat/completions";

    /** Everything that the loops share. */
    record Shared(
            MillraceConfig config,
            Contract contract,
            Room room,
            Queries queries,
            QueryDesk desk,
            InteractionHandler interactions,
            FeedbackHandler feedback,
            KnowledgeHandler knowledge,
            DocumentsHandler documents,
            SourcesHandler sources,
            GapsHandler gaps,
            EmbeddingsHandler embeddings,
            GarbageHandler garbage,
            SessionHandler sessions,
            OperationsHandler operations,
            Connections connections,
            IntConsumer listening) {}

    private final Shared shared;

    Frontend(Shared shared) {
        this.shared = shared;
    }

    @Override
    public Future<?> start() {
        LoopInbox inbox = new LoopInbox(context);
        Handler<HttpServerRequest> chat = new ChatHandler(
                vertx,
                shared.queries,
                shared.desk,
                inbox,
                shared.room,
                shared.config.limits().bodyBytes());
        Router router = router(inbox);
        HostNames hosts = new HostNames(shared.config.listen());
        MillraceConfig.Listen listen = shared.config.listen();
        HttpServer server = vertx.createHttpServer(new HttpServerOptions()
                .setMaxHeaderSize(HEADER_BYTES)
                .setMaxInitialLineLength(LINE_BYTES)
                // one that might still speak HTTP/2, as nobody does without TLS, is not told of before its first byte
                .setHttp2ClearTextEnabled(false)
                // a connection that says nothing longer than the longest deadline is dead
                .setIdleTimeout(IDLE_SECONDS)
                // where it is known that the body is wanted
                .setHandle100ContinueAutomatically(false)
                .setCompressionSupported(false));
        server.connectionHandler(connection -> {
            if (shared.connections.admit(connection)) {
                HalfClosed.watch(connection);
                RequestTime.watch(connection, shared.config.limits().requestTime(), shared.connections::late);
            }
        });
        server.invalidRequestHandler(Frontend::notHttp);
        server.requestHandler(request -> {
            HalfClosed.serves(request);
            if (!hasHost(request)) {
                Errors.of(request.path())
                        .write(
                                request.response(),
                                Problem.invalid("Host", "the header Host is missing, malformed or there twice"),
                                "");
            } else if (request.authority() != null && !hosts.has(request.authority())) {
                Errors.of(request.path()).write(request.response(), HostNames.refused(), "");
            } else if (request.method().equals(HttpMethod.POST) && isChat(request.path())) {
                chat.handle(request);
            } else {
                router.handle(request);
            }
        });
        // one free port for all loops, where port 0 would be another one for each
        SocketAddress address = listen.port() == 0
                ? SocketAddress.sharedRandomPort(1, listen.host())
                : SocketAddress.inetSocketAddress(listen.port(), listen.host());
        return server.listen(address).onSuccess(bound -> shared.listening.accept(bound.actualPort()));
    }

    /** What comes behind it on the connection cannot be told from it. */
    private static void notHttp(HttpServerRequest request) {
        Throwable cause = request.decoderResult().cause();
        Problem problem = switch (cause) {
            case TooLongHttpLineException line ->
                Problem.of(
                        414, "uri_too_long", "the first line of the request is longer than " + LINE_BYTES + " bytes");
            case TooLongHttpHeaderException header ->
                Problem.of(431, "headers_too_large", "the headers are longer than " + HEADER_BYTES + " bytes together");
            case null, default ->
                Problem.of(400, "malformed_request", "this is not HTTP, or its headers contradict each other");
        };
        request.response().putHeader(HttpHeaders.CONNECTION, HttpHeaders.CLOSE);
        Errors.of(request.path()).write(request.response(), problem, "");
        request.connection().close();
    }

    /** As RFC 9112 wants it: one, and none is needed by HTTP/1.0. */
    private static boolean hasHost(HttpServerRequest request) {
        int hosts = request.headers().getAll(HttpHeaders.HOST).size();
        return hosts == 0 ? request.version() == HttpVersion.HTTP_1_0 : hosts == 1 && request.authority() != null;
    }

    private static boolean isChat(@Nullable String path) {
        return path != null && Prefixes.strip(path).equals(CHAT);
    }

    private Router router(LoopInbox inbox) {
        RouterBuilder builder =
                RouterBuilder.create(vertx, shared.contract.openapi(), RequestExtractor.withBodyHandler());
        builder.rootHandler(
                BodyHandler.create(false).setBodyLimit(shared.config.limits().bodyBytes()));
        builder.rootHandler(this::checkBody);
        handlers(inbox)
                .forEach((operation, handler) ->
                        requireNonNull(builder.getRoute(operation), operation).addHandler(handler));
        Router api = builder.createRouter();
        Router root = Router.router(vertx);
        Prefixes.ALL.forEach(prefix -> root.route(prefix + "/*").handler(Frontend::withoutPrefix));
        // the contract names what can be got; asking for the head of it is HTTP's
        root.route().method(HttpMethod.HEAD).handler(Frontend::asGet);
        root.route().handler(this::checkHead);
        root.route().handler(this::takeRoom);
        root.route().subRouter(api);
        root.errorHandler(404, context -> fail(context, refused(404)));
        root.errorHandler(405, this::otherMethod);
        root.errorHandler(400, this::failed);
        root.errorHandler(500, this::failed);
        root.route().failureHandler(this::failed);
        return root;
    }

    /** What can be said before the body is read: that the path is one, takes the method, and takes JSON only. */
    private void checkHead(RoutingContext context) {
        HttpServerRequest request = context.request();
        Path path = path(context);
        Optional<Operation> operation = path == null
                ? Optional.empty()
                : path.getOperations().stream()
                        .filter(each -> each.getHttpMethod().equals(request.method()))
                        .findFirst();
        if (path == null) {
            fail(context, refused(404));
        } else if (operation.isEmpty()) {
            otherMethod(context);
        } else {
            if (!Prefixes.takesAnyParameter(path.getName())) {
                requireKnown(context.queryParams(), operation.get());
            }
            // what needs no body does when a page asks: any page of another origin could, else
            boolean page = request.getHeader(HttpHeaders.ORIGIN) != null;
            if (request.method().equals(HttpMethod.POST) && (page || !SourcesHandler.isSync(request.path()))) {
                Headers.requireJson(request);
            }
            context.next();
        }
    }

    /** One that is misspelt would be taken for one that is absent. */
    private static void requireKnown(MultiMap given, Operation operation) {
        for (String name : given.names()) {
            if (operation.getParameters().stream()
                    .noneMatch(known ->
                            known.getIn() == Location.QUERY && known.getName().equals(name))) {
                throw Problem.invalid(name, name + " is not a parameter of this request");
            }
        }
    }

    /** As the contract has it; for the router a slash at the end makes no difference. */
    private @Nullable Path path(RoutingContext context) {
        String path = context.normalizedPath();
        return shared.contract
                .openapi()
                .findPath(path.length() > 1 && path.endsWith("/") ? path.substring(0, path.length() - 1) : path);
    }

    private void takeRoom(RoutingContext context) {
        HttpServerRequest request = context.request();
        boolean chunked = request.headers().contains(HttpHeaders.TRANSFER_ENCODING);
        long bytes = chunked ? CHUNKED_BYTES : Headers.declaredLength(request);
        // what is larger than a body may be is refused by its size
        if (bytes > Room.SMALL_BYTES && bytes <= shared.config.limits().bodyBytes()) {
            Room.Share memory = shared.room.share();
            memory.hold(bytes);
            context.put(ROOM, memory);
            // a client that hangs up in the middle of its body
            context.addEndHandler(ended -> giveRoomBack(context));
        }
        context.next();
    }

    /** When its body has been read, or never will be. */
    private static void giveRoomBack(RoutingContext context) {
        Room.Share memory = context.remove(ROOM);
        if (memory != null) {
            memory.close();
        }
    }

    /** RFC 9110 wants a 405 to say what the path does take. */
    private void otherMethod(RoutingContext context) {
        Path path = path(context);
        List<String> takes = new ArrayList<>();
        if (path != null) {
            path.getOperations()
                    .forEach(operation -> takes.add(operation.getHttpMethod().name()));
        }
        if (takes.contains("GET")) {
            takes.add("HEAD");
        }
        takes.sort(null);
        context.response().putHeader(HttpHeaders.ALLOW, String.join(", ", takes));
        fail(context, refused(405));
    }

    private static void asGet(RoutingContext context) {
        context.reroute(HttpMethod.GET, context.request().uri());
    }

    private static void withoutPrefix(RoutingContext context) {
        HttpServerRequest request = context.request();
        String query = request.query() == null ? "" : "?" + request.query();
        context.reroute(request.method(), Prefixes.strip(context.normalizedPath()) + query);
    }

    private Map<String, Handler<RoutingContext>> handlers(LoopInbox inbox) {
        OperationsHandler operations = shared.operations;
        return Map.ofEntries(
                Map.entry("query", context -> ask(context, Face.QUERY, inbox)),
                Map.entry("route", context -> ask(context, Face.ROUTE, inbox)),
                Map.entry("augmentQuery", context -> ask(context, Face.AUGMENT, inbox)),
                Map.entry("multiTurnContext", context -> ask(context, Face.CONTEXT, inbox)),
                Map.entry("tokenBudget", Frontend::tokenBudget),
                Map.entry("getInteraction", shared.interactions),
                Map.entry("rate", shared.feedback::rate),
                Map.entry("giveFeedback", shared.feedback::give),
                Map.entry("addDocument", shared.knowledge::add),
                Map.entry("addDocuments", shared.documents::addAll),
                Map.entry("listDocuments", shared.documents::list),
                Map.entry("deleteDocument", shared.documents::delete),
                Map.entry("search", shared.knowledge::find),
                Map.entry("collectGarbage", shared.garbage::collect),
                Map.entry("getSession", shared.sessions::show),
                Map.entry("clearSession", shared.sessions::clear),
                Map.entry("listGaps", shared.gaps::list),
                Map.entry("listSources", shared.sources::list),
                Map.entry("syncSource", shared.sources::sync),
                Map.entry("clearCache", operations::clearCache),
                Map.entry("createEmbedding", shared.embeddings::create),
                Map.entry("listModels", operations::models),
                Map.entry("health", operations::health),
                Map.entry("healthLive", operations::live),
                Map.entry("healthReady", operations::ready),
                Map.entry("healthStartup", operations::ready),
                Map.entry("healthDetailed", operations::detailed),
                Map.entry("status", operations::status),
                Map.entry("stats", operations::stats),
                Map.entry("metrics", operations::metrics),
                Map.entry("config", operations::config),
                Map.entry(
                        "openapi",
                        context -> context.response()
                                .putHeader(HttpHeaders.CONTENT_TYPE, "application/yaml")
                                .end(shared.contract.yaml())));
    }

    private void ask(RoutingContext context, Face face, LoopInbox inbox) {
        shared.desk.submit(
                context.request(),
                shared.queries.of(context.request(), Answers.body(context), face),
                face,
                Headers.respondAsync(context.request()),
                inbox);
    }

    private static void tokenBudget(RoutingContext context) {
        JsonObject body = Answers.body(context);
        Answers.json(
                context,
                200,
                TokenBudgets.of(body.getString("query_type", ""))
                        .toJson(ContextLevel.of(body.getString("context_level", ""))
                                .orElse(ContextLevel.STANDARD)));
    }

    /** Before the contract's validator, which hides broken bytes and says of broken JSON only that it is bad. */
    private void checkBody(RoutingContext context) {
        boolean bare = SourcesHandler.isSync(context.request().path())
                && context.body().length() <= 0;
        giveRoomBack(context);
        if (context.request().method().equals(HttpMethod.POST) && !bare) {
            if (SourcesHandler.isSync(context.request().path())) {
                Headers.requireJson(context.request());
            }
            // the validator wants it in lower case and without parameters
            context.request().headers().set(HttpHeaders.CONTENT_TYPE, Headers.JSON);
            io.vertx.core.buffer.Buffer body = context.body().buffer();
            Contract.requireJsonObject(body == null ? new byte[0] : body.getBytes());
        }
        context.next();
    }

    private void failed(RoutingContext context) {
        Throwable failure = context.failure();
        if (failure == null) {
            fail(context, refused(context.statusCode()));
            return;
        }
        Problem problem = Contract.problem(failure);
        if (problem.status() == 500 && !context.request().isEnded()) {
            // no handler of ours runs before the whole body is there
            problem = Problem.invalid("body", "the body cannot be read: " + failure.getMessage());
        }
        if (problem.status() == 500) {
            LOG.error(
                    "{} {} failed",
                    context.request().method(),
                    context.request().path(),
                    failure);
        }
        fail(context, problem);
    }

    private Problem refused(int status) {
        return switch (status) {
            case 413 -> Problem.bodyTooLarge(shared.config.limits().bodyBytes());
            case 404 -> Problem.of(404, "not_found", "nothing is here; see /openapi.yaml");
            case 405 -> Problem.of(405, "method_not_allowed", "this path does not take this method");
            // without an exception it is Vert.x that refuses, a path that cannot be decoded for one
            default -> Problem.of(status >= 400 && status < 500 ? status : 400, "refused", "the request is malformed");
        };
    }

    private static void fail(RoutingContext context, Problem problem) {
        giveRoomBack(context);
        HttpServerRequest request = context.request();
        Unread.refuse(context.vertx(), request, Errors.of(request.path()), problem);
    }
}
