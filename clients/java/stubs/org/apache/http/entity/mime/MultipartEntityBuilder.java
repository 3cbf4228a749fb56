package org.apache.http.entity.mime;

/** Stands in for Maven's httpmime: the generated client imports this class and does not use it. */
public final class MultipartEntityBuilder {
  private MultipartEntityBuilder() {}
}
