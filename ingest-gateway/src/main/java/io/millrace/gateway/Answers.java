package io.millrace.gateway;

import io.vertx.core.Future;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import io.vertx.ext.web.openapi.router.RouterBuilder;
import io.vertx.openapi.validation.RequestParameter;
import io.vertx.openapi.validation.ValidatedRequest;
import java.util.Optional;

/** Small answers of the handlers. */
final class Answers {
    private Answers() {}

    static void json(RoutingContext context, int status, JsonObject body) {
        json(context, status, body.toBuffer());
    }

    /** Completes when nothing of it is held here any more: when it was sent, or its reader has gone. */
    static Future<Void> json(RoutingContext context, int status, Buffer body) {
        if (context.response().closed() || context.response().ended()) {
            return Future.succeededFuture();
        }
        return context.response()
                .setStatusCode(status)
                .putHeader(HttpHeaders.CONTENT_TYPE, "application/json")
                .end(body);
    }

    static JsonObject body(RoutingContext context) {
        JsonObject body = context.body().asJsonObject();
        return body == null ? new JsonObject() : body;
    }

    /** A parameter after the question mark as the contract types it; empty when it is absent. */
    static Optional<RequestParameter> queryParam(RoutingContext context, String name) {
        ValidatedRequest valid = context.get(RouterBuilder.KEY_META_DATA_VALIDATED_REQUEST);
        return Optional.ofNullable(valid)
                .map(request -> request.getQuery().get(name))
                .filter(parameter -> !parameter.isNull());
    }

    /** A parameter of the path, which the contract has checked to be there. */
    static String pathParam(RoutingContext context, String name) {
        String value = context.pathParam(name);
        return value == null ? "" : value;
    }
}
