/** What a dispatch worker asks: models over HTTP, and the built-ins. */
@NullMarked
package io.millrace.routers.backend;

import org.jspecify.annotations.NullMarked;
