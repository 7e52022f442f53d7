package io.millrace.gateway;

import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;

/** Small answers of the handlers. */
final class Answers {
    private Answers() {}

    static void json(RoutingContext context, int status, JsonObject body) {
        json(context, status, body.toBuffer());
    }

    static void json(RoutingContext context, int status, Buffer body) {
        if (context.response().closed() || context.response().ended()) {
            return;
        }
        context.response()
                .setStatusCode(status)
                .putHeader(HttpHeaders.CONTENT_TYPE, "application/json")
                .end(body);
    }

    static JsonObject body(RoutingContext context) {
        JsonObject body = context.body().asJsonObject();
        return body == null ? new JsonObject() : body;
    }

    /** A parameter of the path, which the contract has checked to be there. */
    static String pathParam(RoutingContext context, String name) {
        String value = context.pathParam(name);
        return value == null ? "" : value;
    }
}
