package io.millrace.gateway;

import io.millrace.schema.Query;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.core.json.JsonObject;

/** Is told that the query was accepted, and asks for the answer later. */
record AsyncClient(HttpServerResponse response, Face face, Query query) implements Client {
    @Override
    public boolean wantsAcceptance() {
        return true;
    }

    @Override
    public void accepted() {
        if (response.headWritten() || response.closed()) {
            return;
        }
        String id = query.getInteractionId();
        response.setStatusCode(202)
                .putHeader(HttpHeaders.LOCATION, "/interactions/" + id)
                .putHeader("Preference-Applied", "respond-async")
                .putHeader(Headers.INTERACTION_ID, id)
                .putHeader(HttpHeaders.CONTENT_TYPE, "application/json")
                .end(new JsonObject()
                        .put("status", "accepted")
                        .put("interaction_id", id)
                        .toBuffer());
    }

    @Override
    public void ended(Outcome outcome) {
        switch (outcome) {
            // the answer may be quicker than the acknowledgement of the query
            case Outcome.Answered answered -> accepted();
            case Outcome.Failed failed -> {
                if (failed.reply().isPresent()) {
                    accepted();
                } else {
                    face.errors().write(response, failed.problem(), query.getInteractionId());
                }
            }
        }
    }
}
