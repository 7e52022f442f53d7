package io.millrace.log;

import org.apache.avro.Schema;

/** The port to a schema registry that speaks Confluent's REST API. Implementations cache: ids are immutable. */
public interface SchemaRegistry {
    /**
     * The id of a schema under a subject; registers it when it is new.
     *
     * @throws RegistryUnavailableException when the registry cannot be reached: worth trying again
     * @throws IncompatibleSchemaException when the registry refuses it: trying again is useless
     */
    int register(String subject, Schema schema);

    /**
     * The schema with this id.
     *
     * @throws RegistryUnavailableException when the registry cannot be reached
     * @throws UndecodableException when there is no such id
     */
    Schema byId(int id);

    /** The registry did not answer. The record is fine; only waiting helps. */
    final class RegistryUnavailableException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        public RegistryUnavailableException(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** The registry holds a version that this schema is not compatible with. */
    final class IncompatibleSchemaException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        public IncompatibleSchemaException(String message) {
            super(message);
        }
    }
}
