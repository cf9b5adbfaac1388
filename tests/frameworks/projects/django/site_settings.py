SECRET_KEY = "for a test"
DEBUG = True
ROOT_URLCONF = "urls"
STATIC_URL = "/static/"
STATICFILES_DIRS = ["static"]
INSTALLED_APPS = ["django.contrib.staticfiles"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "django.middleware.clickjacking.XFrameOptionsMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": ["templates"]}]
